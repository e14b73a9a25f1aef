//! `tap-zoho-crm`: see `zoho_crm_connector::tap`.

fn main() -> std::process::ExitCode {
    zoho_crm_connector::cli::tap_main()
}
