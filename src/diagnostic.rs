//! The bottom layer: what kind of failure an error is, what to do about it, how the program ends.
//!
//! Every layer's error implements [`Diagnostic`]. Nothing here knows Zoho or Singer.

use std::fmt;
use std::time::Duration;

/// What a failure asks of the person or program that started us.
///
/// The class decides the exit code ([`ExitStatus::from`]) and, for the transport, whether trying
/// again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// A flag, a config key, a file that was named: the caller has to change it.
    Config,
    /// The sign-in was refused: client, secret, refresh token or data center.
    Auth,
    /// Signed in, but this user or these scopes may not do it.
    Permission,
    /// API credits, or a limit of our own on them, are used up.
    Quota,
    /// The network or the service failed and went on failing.
    Retriable,
    /// A message that is not Singer, or comes in the wrong order.
    Protocol,
    /// Data that breaks its schema, or cannot be had whole.
    Data,
    /// Everything that could be written is written, and more rows than allowed were rejected.
    Rejected,
    /// A create call was cut before its answer: nobody knows whether its rows exist.
    InDoubt,
    /// The reader of our stdout is gone; not worth a message.
    Closed,
    /// Told to stop by a signal; not worth a message either.
    Interrupted,
    /// A broken promise of our own code.
    Internal,
}

/// What every error of this crate answers besides its message and source.
pub trait Diagnostic: std::error::Error {
    /// Which kind of failure this is.
    fn class(&self) -> ErrorClass;

    /// What to do next, as advice of its own, printed after the error as `hint: …`.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// How the process ends.
///
/// | code | meaning |
/// | --- | --- |
/// | 0 | done |
/// | 1 | done, but more rows were rejected than `max_rejected` allows |
/// | 2 | usage or config |
/// | 3 | sign-in |
/// | 4 | permission or scope |
/// | 5 | API credits |
/// | 6 | network or service, after retries |
/// | 7 | malformed or out-of-order message |
/// | 8 | record against its SCHEMA, or data that cannot be had whole |
/// | 9 | in doubt |
/// | 70 | internal |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum ExitStatus {
    Done = 0,
    Rejected = 1,
    Config = 2,
    Auth = 3,
    Permission = 4,
    Quota = 5,
    Service = 6,
    Protocol = 7,
    Data = 8,
    InDoubt = 9,
    Internal = 70,
}

impl From<ErrorClass> for ExitStatus {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Config => Self::Config,
            ErrorClass::Auth => Self::Auth,
            ErrorClass::Permission => Self::Permission,
            ErrorClass::Quota => Self::Quota,
            ErrorClass::Retriable => Self::Service,
            ErrorClass::Protocol => Self::Protocol,
            ErrorClass::Data => Self::Data,
            ErrorClass::Rejected => Self::Rejected,
            ErrorClass::InDoubt => Self::InDoubt,
            // The process dies of the signal before this code is used; it only has to be non-zero.
            ErrorClass::Closed | ErrorClass::Interrupted => Self::Service,
            ErrorClass::Internal => Self::Internal,
        }
    }
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// A number as people read it: `18,204`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The causes of an error, from the nearest to the root.
pub fn causes(error: &dyn Diagnostic) -> impl Iterator<Item = String> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source()).map(ToString::to_string)
}

/// Why a text is not JSON, in words; the reader's own are meant for those who write such readers.
pub fn json_trouble(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    match said {
        "EOF while parsing a string" => "it ends in the middle of a string".to_owned(),
        "EOF while parsing an object" => "it ends in the middle of an object".to_owned(),
        "EOF while parsing a list" => "it ends in the middle of a list".to_owned(),
        "EOF while parsing a value" => "it ends where a value should come".to_owned(),
        "expected ident" | "expected value" => "a value should come here".to_owned(),
        "key must be a string" => "a key in double quotes should come here".to_owned(),
        "trailing comma" => "nothing follows the comma before this".to_owned(),
        "trailing characters" => "the JSON is over, and here is more text".to_owned(),
        other => other.to_owned(),
    }
}

/// Renders an error as people read it: the message, its causes indented, then the hint.
pub struct Report<'a>(pub &'a dyn Diagnostic);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.0.to_string();
        write!(f, "error: {message}")?;
        // A layer that only hands its cause on says the same as its cause: once is enough.
        for cause in causes(self.0).filter(|cause| *cause != message) {
            write!(f, "\n  caused by: {cause}")?;
        }
        if let Some(hint) = self.0.hint() {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// The candidate most like `name`, for "did you mean": none if all are too different.
///
/// One change is always allowed, and one more for every four characters; case does not count.
pub fn similar<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| strsim::levenshtein(&name.to_lowercase(), &candidate.to_lowercase());
    let (changes, candidate) =
        candidates.into_iter().map(|candidate| (distance(candidate), candidate)).min()?;
    (changes <= 1 + candidate.chars().count() / 4).then_some(candidate)
}

/// A time as people read it: `0.9 s`, `41 s`, `6 min 12 s`.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (18_204, "18,204"), (1_204_113, "1,204,113")]
        {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn times_are_in_the_unit_that_reads_best() {
        let times = [900, 9_940, 41_000, 372_000].map(|millis| duration(Duration::from_millis(millis)));
        assert_eq!(times, ["0.9 s", "9.9 s", "41 s", "6 min 12 s"].map(String::from));
    }

    #[test]
    fn trouble_with_json_is_in_words() {
        let trouble = |text: &str| {
            json_trouble(&serde_json::from_str::<serde_json::Value>(text).expect_err("is not JSON"))
        };
        assert_eq!(trouble("{\"a"), "it ends in the middle of a string");
        assert_eq!(trouble("{\"a\":fuller}"), "a value should come here");
        assert_eq!(trouble("{\"a\":1,}"), "nothing follows the comma before this");
        assert_eq!(trouble("{\"a\" 1}"), "expected `:`");
    }

    #[test]
    fn similar_names_are_found_and_strange_ones_are_not() {
        let fields = ["Phone", "Fax", "Last_Name"];
        assert_eq!(similar("Fone", fields), Some("Phone"));
        assert_eq!(similar("last_name", fields), Some("Last_Name"));
        assert_eq!(similar("Shoe_Size", fields), None);
    }
}
