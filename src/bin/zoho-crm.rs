//! `zoho-crm`, the operator's tool: see `zoho_crm_connector::cli`.

fn main() -> std::process::ExitCode {
    zoho_crm_connector::cli::operator_main()
}
