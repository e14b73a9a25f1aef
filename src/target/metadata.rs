//! The modules and fields of the organisation, asked for once per run and only where a stream needs them.

use std::collections::HashMap;
use std::sync::Arc;

use super::users::Users;
use crate::zoho::api::metadata::Layout;
use crate::zoho::types::{Field, Module};
use crate::zoho::{self, Client};

/// Modules Bulk Write takes besides custom ones. Source: Zoho CRM API, "Bulk Write, Create".
const BULK_MODULES: [&str; 11] = [
    "Leads",
    "Accounts",
    "Contacts",
    "Deals",
    "Campaigns",
    "Cases",
    "Solutions",
    "Products",
    "Vendors",
    "Price_Books",
    "Tasks",
];

/// A module with its fields.
#[derive(Debug, Clone)]
pub struct ModuleMeta {
    /// The module.
    pub module: Module,
    /// Its fields.
    pub fields: Vec<Field>,
    /// Its layouts, once they were asked for.
    pub layouts: Vec<Layout>,
}

impl ModuleMeta {
    /// The field of that API name.
    pub fn field(&self, api_name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.api_name == api_name)
    }

    /// Whether Bulk Write is documented to take the module.
    pub fn takes_bulk_write(&self) -> bool {
        self.module.generated_type == "custom" || BULK_MODULES.contains(&self.module.api_name.as_str())
    }
}

/// What has been asked for so far.
#[derive(Debug, Default)]
pub struct Metadata {
    modules: Option<Vec<Module>>,
    loaded: HashMap<String, ModuleMeta>,
    users: Option<Arc<Users>>,
    /// Whether picklists take none but the options they have.
    pub strict_picklists: bool,
}

impl Metadata {
    /// Nothing asked for yet.
    pub fn new(strict_picklists: bool) -> Self {
        Self { strict_picklists, ..Self::default() }
    }

    /// Metadata that is known already, for tests.
    pub fn of(modules: Vec<ModuleMeta>) -> Self {
        Self {
            modules: Some(modules.iter().map(|meta| meta.module.clone()).collect()),
            loaded: modules.into_iter().map(|meta| (meta.module.api_name.clone(), meta)).collect(),
            ..Self::default()
        }
    }

    /// Asks for a module's fields, unless they are known or there is no such module.
    ///
    /// # Errors
    /// Those of the two metadata calls.
    pub async fn load(&mut self, client: &Client, api_name: &str) -> Result<(), zoho::Error> {
        if self.loaded.contains_key(api_name) {
            return Ok(());
        }
        if self.modules.is_none() {
            self.modules = Some(client.modules().await?);
        }
        let known =
            self.modules.iter().flatten().find(|module| module.api_name == api_name && module.api_supported);
        if let Some(module) = known.cloned() {
            let fields = client.fields(api_name).await?;
            self.loaded.insert(api_name.to_owned(), ModuleMeta { module, fields, layouts: Vec::new() });
        }
        Ok(())
    }

    /// Asks for the layouts of a loaded module, unless they are known.
    ///
    /// # Errors
    /// Those of the metadata call.
    pub async fn load_layouts(&mut self, client: &Client, api_name: &str) -> Result<(), zoho::Error> {
        if let Some(meta) = self.loaded.get_mut(api_name).filter(|meta| meta.layouts.is_empty()) {
            meta.layouts = client.layouts(api_name).await?;
        }
        Ok(())
    }

    /// Asks for the users, unless they are known.
    ///
    /// # Errors
    /// Those of the users call.
    pub async fn load_users(&mut self, client: &Client) -> Result<(), zoho::Error> {
        if self.users.is_none() {
            self.users = Some(Arc::new(Users::read(client).await?));
        }
        Ok(())
    }

    /// The users, if they were asked for.
    pub fn users(&self) -> Option<Arc<Users>> {
        self.users.clone()
    }

    /// A loaded module.
    pub fn get(&self, api_name: &str) -> Option<&ModuleMeta> {
        self.loaded.get(api_name)
    }

    /// Names of all modules.
    pub fn module_names(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().flatten().map(|module| module.api_name.as_str())
    }
}
