//! Points on which the sources of the API reference disagree or are silent.
//!
//! The defaults are the reference's choice (section "Emulator decisions"), or else the harder case
//! for a client. Tests run both ways; `POST /__emulator/switches` changes them at run time.

use serde::{Deserialize, Serialize};

/// How page tokens find the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PageTokens {
    /// By position: a row deleted between two pages shifts what follows, so that one is missed.
    #[default]
    Offset,
    /// By the last row seen.
    Keyset,
}

/// How the deleted list shows a record that became a part of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Merged {
    /// As if it were in the recycle bin.
    #[default]
    Recycle,
    /// As deleted for good.
    Permanent,
    /// Not at all.
    Unlisted,
}

/// Behaviour that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// How page tokens find the next page.
    pub page_tokens: PageTokens,
    /// `If-Modified-Since` means strictly later; otherwise the same second counts too.
    pub modified_since_strict: bool,
    /// The deleted list answers 304 when the header was sent and nothing is newer, otherwise 204.
    pub deleted_304: bool,
    /// A page of the deleted list beyond this many rows is an error.
    pub deleted_rows: Option<u32>,
    /// A record that is restored from the recycle bin counts as modified.
    pub restore_moves_modified_time: bool,
    /// How the deleted list shows the loser of a merge.
    pub merged: Merged,
    /// Request-level errors of record calls come wrapped in `data`.
    pub wrap_errors: bool,
    /// Status when every record of a write failed.
    pub all_failed_status: u16,
    /// A read-only field in a write is an error instead of being ignored.
    pub reject_read_only: bool,
    /// An unknown key in a write is an error instead of being ignored.
    pub reject_unknown_keys: bool,
    /// A lookup may be written as a bare id.
    pub bare_lookup_ids: bool,
    /// More decimals than the field has are rounded instead of being an error.
    pub round_decimals: bool,
    /// Subform rows that an update does not name are removed.
    pub replace_subform_rows: bool,
    /// An unknown id in a single GET answers 204, otherwise 400 `INVALID_DATA`.
    pub unknown_record_204: bool,
    /// A module for which this user has no permission.
    pub no_permission_module: Option<String>,
    /// The organisation has several currencies; otherwise their list is refused.
    pub multi_currency: bool,
    /// The organisation has territories; otherwise their list is empty.
    pub territories: bool,
    /// Rows in one page of a bulk read.
    pub bulk_read_page_size: u32,
    /// The name of the id column in a bulk read file.
    pub bulk_read_id_column: String,
    /// Bulk read takes Notes.
    pub bulk_read_notes: bool,
    /// The id column of a bulk read file comes first, otherwise last.
    pub bulk_read_id_first: bool,
    /// Bulk read files start with a byte order mark.
    pub bulk_read_byte_order_mark: bool,
    /// Bulk read takes criteria on the record id.
    pub bulk_read_id_criteria: bool,
    /// Most values of `in` and `not_in` in bulk read criteria.
    pub bulk_read_in_values: u32,
    /// Kinds of fields that bulk read exports although it refuses them otherwise: `Tag`,
    /// `fileupload`, `imageupload`, `subform`, `multiselectlookup`, `multiuserlookup`.
    pub bulk_read_extra_types: Vec<String>,
    /// Fields that bulk read refuses by name although the metadata lists them, as it does with
    /// addresses and coordinates; `Account_Name.Account_Name` for a dotted one.
    pub bulk_read_refused_fields: Vec<String>,
    /// Bulk read takes `page` above 1.
    pub bulk_read_pages: bool,
    /// The job status answer carries `result` before the job is done.
    pub bulk_read_early_result: bool,
    /// The running state of a bulk write is spelled with a space.
    pub bulk_write_spaced_state: bool,
    /// The result address of a bulk write is a path instead of a whole URL.
    pub bulk_write_relative_url: bool,
    /// The rows of a bulk write result come in another order than they were sent.
    pub bulk_write_shuffled_result: bool,
    /// A bulk write result leaves this row out, counted from one.
    pub bulk_write_dropped_row: Option<u64>,
    /// A bulk write result has this row twice, counted from one.
    pub bulk_write_repeated_row: Option<u64>,
    /// A bulk write result repeats its input with other white space.
    pub bulk_write_altered_cells: bool,
    /// Bulk write understands ISO dates without a `format`.
    pub bulk_write_iso_dates: bool,
    /// Most rows of the child file of a linking module; the sources give a number for subforms only.
    pub bulk_write_linking_rows: u32,
    /// How long an uploaded file can be named in jobs, in seconds.
    pub bulk_write_upload_seconds: u32,
    /// Records that page tokens reach.
    pub page_token_reach: u32,
    /// Credits of a status call, a download and an upload.
    pub bulk_call_credits: [u64; 3],
    /// Most rows one COQL call returns.
    pub coql_rows: u32,
    /// Rows that an offset of COQL reaches.
    pub coql_reach: u32,
    /// Most columns a COQL call selects.
    pub coql_columns: u32,
    /// Fields that queries refuse by name.
    pub coql_refused_fields: Vec<String>,
    /// Most values of `in` and `not in` in a COQL query.
    pub coql_values: u32,
    /// COQL takes Notes.
    pub coql_notes: bool,
    /// Bulk jobs of one kind that run at the same time.
    pub jobs_side_by_side: u32,
}

impl Switches {
    /// These switches with some of them set otherwise.
    ///
    /// # Errors
    /// When there is no such switch, or a value is none that it can have.
    pub fn with(&self, changed: serde_json::Map<String, serde_json::Value>) -> serde_json::Result<Self> {
        let mut all = serde_json::to_value(self)?;
        for (name, value) in changed {
            all[name] = value;
        }
        serde_json::from_value(all)
    }
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            page_tokens: PageTokens::Offset,
            modified_since_strict: true,
            deleted_304: true,
            deleted_rows: None,
            merged: Merged::Recycle,
            restore_moves_modified_time: false,
            wrap_errors: false,
            all_failed_status: 400,
            reject_read_only: false,
            reject_unknown_keys: false,
            bare_lookup_ids: true,
            round_decimals: false,
            replace_subform_rows: false,
            unknown_record_204: true,
            no_permission_module: None,
            multi_currency: false,
            territories: false,
            bulk_read_page_size: 200_000,
            bulk_read_id_column: "Id".to_owned(),
            bulk_read_notes: false,
            bulk_read_id_first: true,
            bulk_read_byte_order_mark: false,
            bulk_read_id_criteria: true,
            bulk_read_in_values: 20,
            bulk_read_extra_types: Vec::new(),
            bulk_read_refused_fields: Vec::new(),
            bulk_read_pages: true,
            bulk_read_early_result: false,
            bulk_write_spaced_state: false,
            bulk_write_relative_url: false,
            bulk_write_shuffled_result: false,
            bulk_write_dropped_row: None,
            bulk_write_repeated_row: None,
            bulk_write_altered_cells: false,
            bulk_write_iso_dates: false,
            bulk_write_linking_rows: 200,
            bulk_write_upload_seconds: 86_400,
            page_token_reach: 100_000,
            bulk_call_credits: [1, 0, 0],
            coql_rows: 2_000,
            coql_reach: 100_000,
            coql_columns: 500,
            coql_refused_fields: Vec::new(),
            coql_values: 100,
            coql_notes: false,
            jobs_side_by_side: 2,
        }
    }
}
