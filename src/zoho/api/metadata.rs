//! Modules and fields: `GET /crm/v8/settings/modules`, `GET /crm/v8/settings/fields`.

use crate::zoho::call::{Call, segment};
use crate::zoho::client::Client;
use crate::zoho::credits::{CALL, Category};
use crate::zoho::error::Error;
use crate::zoho::json;
use crate::zoho::memory;
use crate::zoho::types::{Field, Module};
use serde_json::Value;

/// A layout of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Its id.
    pub id: String,
    /// Its name, as people see it.
    pub name: String,
}

impl Client {
    /// All modules, those that cannot be read included.
    ///
    /// # Errors
    ///
    /// Those of every call: sign-in, permission, credits, network.
    pub async fn modules(&self) -> Result<Vec<Module>, Error> {
        let call = Call::get("/crm/v8/settings/modules").price(Category::Metadata, CALL);
        let value = self.fetch_value(&call).await?;
        self.memory().keep(memory::MODULES, &value["modules"]);
        Ok(json::list(&value["modules"]).iter().map(Module::from_json).collect())
    }

    /// The fields of a module over all of its layouts; none for a module without fields.
    ///
    /// # Errors
    ///
    /// `INVALID_MODULE` or `NO_PERMISSION` for a module that cannot be described, and those of
    /// every call.
    pub async fn fields(&self, module: &str) -> Result<Vec<Field>, Error> {
        let call = Call::get("/crm/v8/settings/fields")
            .query("module", module)
            .module(module)
            .price(Category::Metadata, CALL);
        let value = self.fetch_value(&call).await?;
        self.memory().keep(&memory::fields_of(module), &value["fields"]);
        Ok(json::list(&value["fields"]).iter().map(Field::from_json).collect())
    }

    /// The layouts of a module, from the description of the module itself.
    ///
    /// # Errors
    ///
    /// `INVALID_MODULE`, and those of every call.
    pub async fn layouts(&self, module: &str) -> Result<Vec<Layout>, Error> {
        let call = Call::get(format!("/crm/v8/settings/modules/{}", segment(module)))
            .module(module)
            .price(Category::Metadata, CALL);
        let value = self.fetch_value(&call).await?;
        let layout =
            |layout: &Value| Layout { id: json::text(layout, "id"), name: json::text(layout, "name") };
        Ok(json::list(&value["modules"][0]["layouts"]).iter().map(layout).collect())
    }
}
