//! `destination-zoho-crm`: see `zoho_crm_connector::cli`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    zoho_crm_connector::cli::destination_main()
}
