//! Connects Zoho CRM and a data warehouse, in both directions, by the Singer protocol or by Airbyte's.
//!
//! ```text
//!  Zoho CRM ──▶ zoho (HTTP) ──▶ codec (bytes) ──▶ tap ──▶ protocol ──▶ stdout   RECORD, STATE
//!  stdin ──▶ protocol ──▶ target ──▶ codec (bytes) ──▶ zoho (HTTP) ──▶ Zoho CRM
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | `aside` | work on a thread of its own |
//! | [`cli`] | the command lines |
//! | [`codec`] | CSV in a zip file to records and back |
//! | [`diagnostic`] | error classes, hints, exit codes |
//! | `emulator` | a local Zoho CRM; feature `emulator`, on by default |
//! | [`error`] | the top error, which wraps each layer's |
//! | [`protocol`] | Singer's and Airbyte's words: messages, catalog, schema, state |
//! | [`secret`] | strings that are never shown |
//! | [`tap`] | Zoho CRM to Singer messages |
//! | [`target`] | Singer messages into Zoho, an outcome for every row |
//! | [`written`] | what the target last wrote, for the tap |
//! | [`zoho`] | everything about Zoho CRM over HTTP |

mod aside;
pub mod cli;
pub mod codec;
pub mod diagnostic;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod error;
pub mod protocol;
pub mod secret;
pub mod storage;
pub mod tap;
pub mod target;
pub mod written;
pub mod zoho;
