//! `zoho-crm`: the operator's tool around tap and target.

use super::airbyte::{DestinationArgs, SourceArgs};
use super::args::{ApiArgs, AuthCommand, ConfigArgs, OperatorArgs, OperatorCommand, TapArgs, TargetArgs};
use super::files;
use super::jobs;
use super::man;
use super::plan;
use super::progress::Screen;
use super::settings::{Program, Settings};
use super::target;
use crate::diagnostic::{similar, thousands};
use crate::error::{Error, SettingsError};
use crate::protocol::writer::MessageWriter;
use crate::zoho::{Client, find_data_center};
use clap::CommandFactory;
use serde_json::Value;
use std::io::stdout;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Runs one command of the tool.
pub async fn run(command: OperatorCommand, screen: Screen, shutdown: CancellationToken) -> Result<(), Error> {
    // These two write: the target itself sees to a good end when it is told to stop.
    let command = match command {
        OperatorCommand::Jobs(command) => return jobs::run(command, &screen, shutdown).await,
        OperatorCommand::Retry { file, config } => {
            return target::retry(&config.config, &file, &screen, shutdown).await;
        }
        other => other,
    };
    let work = async {
        match command {
            OperatorCommand::Check(config) => check(&connect(&config)?.1, &screen).await,
            OperatorCommand::Auth(command) => auth(command, &screen).await,
            OperatorCommand::Modules(config) => modules(&connect(&config)?.1).await,
            OperatorCommand::Fields { module, config } => fields(&connect(&config)?.1, &module).await,
            OperatorCommand::Plan(args) => plan::run(args, &screen).await,
            OperatorCommand::Api(args) => api(args).await,
            OperatorCommand::Jobs(_) | OperatorCommand::Retry { .. } => Ok(()),
            #[cfg(feature = "emulator")]
            OperatorCommand::Emulate(args) => super::emulate::run(args, &screen).await,
            #[cfg(feature = "emulator")]
            OperatorCommand::Demo(args) => super::demo::run(args, &screen).await,
            OperatorCommand::Completions { shell } => completions(shell),
            OperatorCommand::Man { dir } => man::pages(&dir, &screen),
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => Err(crate::tap::Error::Interrupted.into()),
        done = work => done,
    }
}

/// Settings and client for a command that signs in.
pub fn connect(config: &ConfigArgs) -> Result<(Settings, Client), Error> {
    let settings = Settings::load(Program::Operator, &config.config)?;
    let client = Client::new(settings.connection()?)?;
    Ok((settings, client))
}

async fn check(client: &Client, screen: &Screen) -> Result<(), Error> {
    let connection = client.connection();
    screen.say(&format!("Accounts host   {}", connection.accounts_base()));
    client.sign_in().await?;
    screen.say("Sign-in         ok");
    let org = client.org().await?;
    screen.say(&format!(
        "Organisation    {} ({}, {}, {} user licences)",
        org.company_name,
        org.edition.name(),
        org.org_type,
        org.user_licenses
    ));
    let user = client.current_user().await?;
    screen.say(&format!(
        "User            {} <{}>, {}, {}",
        user.full_name, user.email, user.profile, user.time_zone
    ));
    let modules = client.modules().await?;
    let readable = modules.iter().filter(|module| module.api_supported && module.viewable).count();
    screen.say(&format!("Modules         {readable} can be read by this user, {} in all", modules.len()));
    client.coql("select COUNT(id) from Leads where id is not null", 1).await.map(drop).or_else(|error| {
        screen.say(&format!("COQL            refused: {error}"));
        if error.code() == Some("OAUTH_SCOPE_MISMATCH") { Ok(()) } else { Err(error) }
    })?;
    let usage = client.usage();
    screen.say(&match (usage.per_day, usage.remaining) {
        (Some(per_day), Some(left)) => {
            format!("API credits     {} of {} left in the last 24 h", thousands(left), thousands(per_day))
        }
        (Some(per_day), None) => {
            format!("API credits     {} a day, less than half of them used", thousands(per_day))
        }
        (None, _) => "API credits     not told by Zoho; set `daily_credits` if you know them".to_owned(),
    });
    screen.say(&format!("All well. This check cost {} credits.", usage.credits.total()));
    Ok(())
}

async fn auth(command: AuthCommand, screen: &Screen) -> Result<(), Error> {
    match command {
        AuthCommand::SelfClient(config) => {
            let (settings, client) = connect(&config)?;
            client.sign_in().await?;
            let dir = settings.state_dir();
            screen.say(&format!(
                "Signed in. The refresh token is kept in `{}`; the grant code may stay in the settings.",
                dir.display()
            ));
            Ok(())
        }
        AuthCommand::Status { config, find_data_center: false } => {
            let (_, client) = connect(&config)?;
            client.sign_in().await?;
            let (org, user) = (client.org().await?, client.current_user().await?);
            screen.say(&format!(
                "Signed in to {} as {} <{}> in data center `{}`.",
                org.company_name,
                user.full_name,
                user.email,
                client.connection().data_center
            ));
            Ok(())
        }
        AuthCommand::Status { config, .. } => search_data_centers(&connect(&config)?.1, screen).await,
        AuthCommand::Revoke(config) => {
            connect(&config)?.1.revoke().await?;
            screen.say("The refresh token is revoked and every kept access token forgotten.");
            Ok(())
        }
    }
}

async fn search_data_centers(client: &Client, screen: &Screen) -> Result<(), Error> {
    let mut last = None;
    for trial in find_data_center(client.connection(), std::sync::Arc::new(chrono::Utc::now)).await? {
        match trial.outcome {
            Ok(()) => {
                screen.say(&format!(
                    "{}  {}  knows this client and token",
                    trial.data_center, trial.accounts_url
                ));
                screen.say(&format!("Set \"data_center\": \"{}\".", trial.data_center));
                return Ok(());
            }
            Err(error) => {
                screen.say(&format!("{}  {}  {}", trial.data_center, trial.accounts_url, error.message()));
                last = Some(error);
            }
        }
    }
    last.map_or(Ok(()), |error| Err(error.into()))
}

async fn modules(client: &Client) -> Result<(), Error> {
    let mut modules = client.modules().await?;
    modules.retain(|module| module.api_supported && module.viewable);
    let width = modules.iter().map(|module| module.api_name.len()).max().unwrap_or(0);
    let lines = modules.iter().map(|module| {
        format!("{:width$}  {:12}  {}", module.api_name, module.generated_type, module.plural_label)
    });
    print(&lines.collect::<Vec<_>>().join("\n"))
}

async fn fields(client: &Client, module: &str) -> Result<(), Error> {
    let fields = match client.fields(module).await {
        Err(error) if error.code() == Some("INVALID_MODULE") => {
            return Err(no_module(client, module, error).await);
        }
        answer => answer?,
    };
    let width = fields.iter().map(|field| field.api_name.len()).max().unwrap_or(0);
    let lines = fields.iter().map(|field| {
        let mark = |set: bool, word: &'static str| if set { word } else { "" };
        let marks = [
            mark(field.unique, "unique"),
            mark(field.system_mandatory, "mandatory"),
            mark(!field.api_update, "read-only"),
        ];
        let marks: Vec<&str> = marks.into_iter().filter(|mark| !mark.is_empty()).collect();
        let related = field.lookup_module.as_ref().map(|module| format!(" of {module}")).unwrap_or_default();
        let kind = format!("{}{related}", field.data_type.as_str());
        format!("{:width$}  {kind:28}  {}  {}", field.api_name, field.field_label, marks.join(", "))
            .trim_end()
            .to_owned()
    });
    print(&lines.collect::<Vec<_>>().join("\n"))
}

/// Adds the name that was meant, for one more credit.
async fn no_module(client: &Client, module: &str, error: crate::zoho::Error) -> Error {
    let mut modules = client.modules().await.unwrap_or_default();
    modules.retain(|module| module.api_supported && module.viewable);
    match similar(module, modules.iter().map(|module| module.api_name.as_str())) {
        None => error.into(),
        Some(near) => SettingsError::Usage {
            message: format!("there is no module `{module}`, says Zoho (INVALID_MODULE)"),
            hint: format!("did you mean `{near}`? `zoho-crm modules` lists all"),
        }
        .into(),
    }
}

async fn api(args: ApiArgs) -> Result<(), Error> {
    let (_, client) = connect(&args.config)?;
    let body = args.body.as_deref().map(body).transpose()?;
    let (path, query) = args.path.split_once('?').unwrap_or((&args.path, ""));
    let answer = client.raw(args.method, path, &pairs(query), body).await?;
    tracing::info!(status = answer.status, "answered");
    if let Some(body) = &answer.body {
        print(&format!("{body:#}"))?;
    }
    match answer.status {
        0..400 => Ok(()),
        status => Err(SettingsError::Usage {
            message: format!("Zoho answered with status {status}"),
            hint:
                "the answer is on stdout; section \"Status and Error Codes\" of Zoho's API pages explains it"
                    .into(),
        }
        .into()),
    }
}

/// The pairs of a query, as they were typed.
fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn body(text: &str) -> Result<Value, SettingsError> {
    match text.strip_prefix('@') {
        Some(file) => files::json(Path::new(file)),
        None => serde_json::from_str(text).map_err(|error| SettingsError::Usage {
            message: format!("`--body` is not JSON: {error}"),
            hint: "give JSON, or `@FILE` for a file with JSON".into(),
        }),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Error> {
    let mut text = Vec::new();
    let mut commands = [
        OperatorArgs::command(),
        TapArgs::command(),
        TargetArgs::command(),
        SourceArgs::command(),
        DestinationArgs::command(),
    ];
    for command in &mut commands {
        let name = command.get_name().to_owned();
        clap_complete::generate(shell, command, name, &mut text);
    }
    print(String::from_utf8_lossy(&text).trim_end())
}

/// Writes what was asked for to stdout.
pub fn print(text: &str) -> Result<(), Error> {
    Ok(MessageWriter::new(stdout()).document(text)?)
}
