//! What an organisation has set up beside modules and fields: currencies, territories, layouts,
//! pipelines, tags. And the metadata of a record's attachments, which is no module either.
//!
//! Follows "Currencies", "Territories", "Layouts", "Pipelines", "Tags" and "Attachments" of the v8 API.

use super::records::{MAX_PER_PAGE, Page};
use crate::zoho::call::{Call, segment};
use crate::zoho::client::Client;
use crate::zoho::credits::{CALL, Category};
use crate::zoho::error::Error;
use crate::zoho::types::RecordId;

// Request types

/// A list of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting<'a> {
    /// The currencies; refused where the organisation has only one.
    Currencies,
    /// The territories.
    Territories,
    /// The page layouts of a module.
    Layouts {
        /// API name.
        module: &'a str,
    },
    /// The pipelines of a layout, with their stages.
    Pipelines {
        /// Id of the layout.
        layout: &'a str,
    },
    /// The tags of a module's records.
    Tags {
        /// API name.
        module: &'a str,
    },
}

/// What is asked of an attachment.
const ATTACHMENT_FIELDS: &str = "id,File_Name,Size,Parent_Id,Owner,Created_By,Modified_By,Created_Time,\
    Modified_Time,$file_id,$type,$link_url,$attachment_type";

impl Client {
    /// One page of a list of settings, numbered from 1. Only territories have more than one.
    ///
    /// # Errors
    ///
    /// `CURRENCIES_NOT_ENABLED`, `FEATURE_NOT_SUPPORTED`, `INVALID_MODULE`, and those of every call.
    pub async fn settings(&self, setting: Setting<'_>, page: u32) -> Result<Page, Error> {
        let (path, parameter) = match setting {
            Setting::Currencies => ("/crm/v8/org/currencies", None),
            Setting::Territories => ("/crm/v8/settings/territories", Some(("page", page.to_string()))),
            Setting::Layouts { module } => ("/crm/v8/settings/layouts", Some(("module", module.to_owned()))),
            Setting::Pipelines { layout } => {
                ("/crm/v8/settings/pipeline", Some(("layout_id", layout.to_owned())))
            }
            Setting::Tags { module } => ("/crm/v8/settings/tags", Some(("module", module.to_owned()))),
        };
        let call = Call::get(path).price(Category::Data, CALL);
        let call = match parameter {
            Some((name, value)) => call.query(name, value),
            None => call,
        };
        self.fetch_page(&call).await
    }

    /// One page of the attachments of a record, numbered from 1: their metadata.
    ///
    /// # Errors
    ///
    /// `INVALID_MODULE`, `INVALID_DATA` for a record that is gone, `NO_PERMISSION`, and those of every call.
    pub async fn attachments(&self, module: &str, id: &RecordId, page: u32) -> Result<Page, Error> {
        let path = format!("/crm/v8/{}/{}/Attachments", segment(module), segment(id.as_str()));
        let call = Call::get(path)
            .query("fields", ATTACHMENT_FIELDS)
            .query("page", page.to_string())
            .query("per_page", MAX_PER_PAGE.to_string())
            .price(Category::Data, CALL)
            .module(module);
        self.fetch_page(&call).await
    }
}
