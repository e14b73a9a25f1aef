//! `zoho-crm plan`: what a sync would read and spend, as a table or as JSON.

use super::args::PlanArgs;
use super::operator::{connect, print};
use super::progress::Screen;
use super::shards;
use super::tap::{catalog, discovered, state};
use crate::diagnostic::thousands;
use crate::error::Error;
use crate::protocol::state::State;
use crate::tap::TapConfig;
use crate::tap::forecast::{Forecast, StreamForecast, forecast};
use crate::tap::plan::Way;
use crate::tap::planner::Expected;
use crate::zoho::Allowance;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

/// Plans, and says it.
pub async fn run(args: PlanArgs, screen: &Screen) -> Result<(), Error> {
    let (settings, client) = connect(&args.config)?;
    let config: TapConfig = settings.own()?;
    let state = match &args.state {
        Some(path) => state(path)?,
        None => State::read(Value::Null)?,
    };
    let catalog = match &args.catalog {
        Some(path) => catalog(path)?,
        None => discovered(&client, &config, screen, &CancellationToken::new()).await?.catalog,
    };
    if let Some(shards) = args.shards {
        return shards::plan(client, config, &settings, &catalog, shards, args.shard_plan.as_deref(), screen)
            .await;
    }
    let forecast = forecast(client, config, settings.state_dir(), &catalog, state).await?;
    if args.json { print(&format!("{:#}", as_json(&forecast))) } else { print(&as_text(&forecast)) }
}

/// The ways, in the order of the columns.
const COLUMNS: [Way; 3] = [Way::Coql, Way::Records, Way::BulkRead];

fn as_text(plan: &Forecast) -> String {
    let mut lines = table(plan);
    lines.push(String::new());
    for stream in &plan.streams {
        lines.extend(stream.refused.iter().map(|reason| format!("{}: not by {reason}", stream.stream)));
        lines.extend(stream.note.iter().map(|note| format!("{}: {note}", stream.stream)));
    }
    lines.extend(
        plan.skipped.iter().map(|skipped| format!("Skipped: {} ({})", skipped.module, skipped.reason)),
    );
    if plan.jobs() > 0 {
        let guess = match plan.polls_per_job {
            Some(_) => "as many as in the last run",
            None => "if each takes a minute",
        };
        let (polls, jobs) = (credits(plan.polls()), plan.jobs());
        lines.push(format!(
            "Not in the total: about {polls} for asking how far the bulk jobs are ({jobs}), {guess}."
        ));
    }
    lines.push(left(&plan.allowance));
    lines.extend(verdict(plan).map(str::to_owned));
    lines.push(format!("This plan cost {}.", spent(plan)));
    lines.join("\n")
}

/// Streams, metadata and the total, in columns that line up.
fn table(plan: &Forecast) -> Vec<String> {
    let head = ["stream", "rows", "COQL", "records API", "Bulk Read", "choice", "credits"];
    let mut rows: Vec<[String; 7]> = vec![head.map(str::to_owned)];
    rows.extend(plan.streams.iter().map(row));
    let line = |name: &str, what: String, credits: u64| {
        let none = String::new;
        [name.to_owned(), none(), none(), none(), none(), what, thousands(credits)]
    };
    let modules = plan.streams.iter().filter(|stream| stream.metadata > 0).count();
    rows.push(line("metadata", format!("fields of {modules}"), plan.metadata()));
    rows.push(line("total", String::new(), plan.total()));
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    rows.iter().map(|row| aligned(row, widths)).collect()
}

/// Names to the left, numbers to the right.
fn aligned(row: &[String; 7], widths: [usize; 7]) -> String {
    let cell = |(at, (cell, width)): (usize, (&String, usize))| match at {
        0 | 5 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    };
    let cells: Vec<String> = row.iter().zip(widths).enumerate().map(cell).collect();
    cells.join("  ").trim_end().to_owned()
}

fn row(stream: &StreamForecast) -> [String; 7] {
    let rows = match stream.expected {
        Expected::Counted(rows) | Expected::Known(rows, _) => thousands(rows),
        Expected::Unknown => String::new(),
    };
    let offer = |way: Way| stream.offers.iter().find(|offer| offer.way() == way);
    let price = |way: Way| match (stream.offers.is_empty(), offer(way)) {
        (true, _) => String::new(),
        (false, None) => "-".to_owned(),
        (false, Some(offer)) => thousands(offer.credits),
    };
    let [coql, records, bulk] = COLUMNS.map(price);
    let choice = match stream.choice {
        Some(Way::BulkRead) if stream.jobs > 1 => format!("Bulk Read, {} jobs", stream.jobs),
        Some(way) => way.label().to_owned(),
        None => String::new(),
    };
    [stream.stream.clone(), rows, coql, records, bulk, choice, thousands(stream.credits)]
}

/// What may be spent, in words.
fn left(allowance: &Allowance) -> String {
    let of_day = match (allowance.left, allowance.per_day, allowance.told) {
        (Some(left), Some(day), true) => {
            format!("Credits: {} of {} left in the last 24 h", thousands(left), thousands(day))
        }
        (Some(left), None, _) => format!("Credits: {} left in the last 24 h", thousands(left)),
        (Some(_), Some(day), false) => format!(
            "Credits: {} a day, less than half of them used, {} by this connector",
            thousands(day),
            thousands(allowance.spent_last_day)
        ),
        (None, ..) => {
            "Credits: Zoho does not tell how many there are; set `daily_credits` if you know".into()
        }
    };
    let reserve = match allowance.reserve {
        0 => String::new(),
        reserve => format!("; {} kept in reserve", thousands(reserve)),
    };
    let cap = match allowance.cap {
        Some(cap) => format!("; your limit for one run is {}", thousands(cap)),
        None => String::new(),
    };
    format!("{of_day}{reserve}{cap}.")
}

fn verdict(plan: &Forecast) -> Option<&'static str> {
    plan.fits().map(|fits| match fits {
        true => "Fits.",
        false => {
            "Does not fit: the sync stops in time, with exit code 5, and the next run goes on from there."
        }
    })
}

fn spent(plan: &Forecast) -> String {
    let spent = plan.spent;
    let counts = match spent.counts {
        0 => "nothing counted: the sizes are known".to_owned(),
        counts => format!("{counts} for counting, kept for the sync"),
    };
    format!("{} ({} metadata; {counts})", credits(spent.total()), spent.metadata)
}

fn credits(number: u64) -> String {
    if number == 1 { "1 credit".to_owned() } else { format!("{} credits", thousands(number)) }
}

/// The plan for programs; `schemas/plan.json` describes it.
fn as_json(plan: &Forecast) -> Value {
    let allowance = &plan.allowance;
    json!({
        "streams": plan.streams.iter().map(stream_json).collect::<Vec<_>>(),
        "skipped": plan.skipped.iter()
            .map(|skipped| json!({"stream": skipped.module, "reason": skipped.reason}))
            .collect::<Vec<_>>(),
        "credits": {"data": plan.data(), "metadata": plan.metadata(), "total": plan.total(), "polls_about": plan.polls()},
        "allowance": {"per_day": allowance.per_day, "left": allowance.left, "told_by_zoho": allowance.told,
            "spent_last_day": allowance.spent_last_day, "reserve": allowance.reserve, "per_run": allowance.cap},
        "fits": plan.fits(),
        "spent": {"data": plan.spent.data, "metadata": plan.spent.metadata, "counts": plan.spent.counts},
    })
}

fn stream_json(stream: &StreamForecast) -> Value {
    let ways: Map<String, Value> =
        stream.offers.iter().map(|offer| (offer.way().name().to_owned(), offer.credits.into())).collect();
    let counted = match stream.expected {
        Expected::Counted(_) => json!("now"),
        Expected::Known(_, at) => json!(at),
        Expected::Unknown => Value::Null,
    };
    json!({
        "stream": stream.stream, "since": stream.since, "rows": stream.expected.rows(), "counted": counted,
        "ways": ways, "refused": stream.refused, "choice": stream.choice.map(Way::name), "jobs": stream.jobs,
        "credits": stream.credits, "metadata": stream.metadata, "note": stream.note,
    })
}
