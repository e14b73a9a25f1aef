use super::args::DemoArgs;
use super::progress::Screen;
use crate::error::Error;
/// x
pub async fn run(_command: DemoArgs, _screen: &Screen) -> Result<(), Error> {
    Ok(())
}
