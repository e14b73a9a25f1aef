//! `target-zoho-crm`: see `zoho_crm_connector::target`.

fn main() -> std::process::ExitCode {
    zoho_crm_connector::cli::target_main()
}
