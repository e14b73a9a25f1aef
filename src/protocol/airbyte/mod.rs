//! The words of Airbyte: a second protocol at the edge of the same tap and target.
//!
//! [`Speaker`] says a sync as RECORD, STATE and TRACE messages; `catalog` and `state` turn what Airbyte hands
//! over into the catalog and the state that the tap knows anyway, `input` what reaches a destination into messages. Nothing here reads or writes records by
//! itself. Follows the Airbyte protocol 0.18 (`airbyte_protocol.yaml`) and the page "Airbyte Protocol".

pub mod catalog;
pub mod input;
pub mod message;
pub mod speaker;
pub mod state;

pub use speaker::Speaker;
