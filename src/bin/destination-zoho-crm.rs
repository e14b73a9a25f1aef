//! `destination-zoho-crm`: see `zoho_crm_connector::cli`.

fn main() -> std::process::ExitCode {
    zoho_crm_connector::cli::destination_main()
}
