//! Dotted names: `Account_Name.Owner.last_name` from a record over its lookups to a value.
//!
//! COQL and bulk read reach other modules this way; the last step may be a property of a user.

use super::directory::User;
use super::filter::Kind;
use super::schema::{Field, Schema};
use super::store::Row;
use super::value::Value;

/// A dotted name that was found in the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Place of the module that the first step belongs to.
    module: usize,
    /// Place of the field in it.
    place: u16,
    next: Next,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// The field itself.
    Nothing,
    /// A field of the record that the lookup points at.
    Record(Box<Path>),
    /// A property of the user that the field points at.
    User(UserField),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UserField {
    Id,
    FirstName,
    LastName,
    FullName,
    Email,
}

impl UserField {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "first_name" => Self::FirstName,
            "last_name" => Self::LastName,
            "full_name" | "name" => Self::FullName,
            "email" => Self::Email,
            _ => return None,
        })
    }

    fn value(self, user: &User) -> Value {
        match self {
            Self::Id => Value::Id(user.id),
            Self::FirstName => Value::text(user.first_name.as_str()),
            Self::LastName => Value::text(user.last_name.as_str()),
            Self::FullName => Value::text(user.full_name()),
            Self::Email => Value::text(user.email.as_str()),
        }
    }
}

impl Path {
    /// Finds a name; `None` when a step has no such field or leads nowhere.
    pub fn find<'a>(
        schema: &Schema,
        module: usize,
        steps: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        let mut steps = steps.into_iter();
        Self::walk(schema, module, steps.next()?, &mut steps)
    }

    fn walk<'a>(
        schema: &Schema,
        module: usize,
        step: &str,
        rest: &mut impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        let place = schema.modules[module].index_of(step)?;
        let field = schema.modules[module].at(place);
        let next = match rest.next() {
            None => Next::Nothing,
            Some(name) if field.data_type.is_user() => {
                let property = UserField::named(name)?;
                if rest.next().is_some() {
                    return None;
                }
                Next::User(property)
            }
            Some(name) => {
                let target = schema.position(field.lookup.as_deref()?)?;
                Next::Record(Box::new(Self::walk(schema, target, name, rest)?))
            }
        };
        Some(Self { module, place, next })
    }

    /// The field at the end; `None` for a property of a user.
    pub fn field<'s>(&self, schema: &'s Schema) -> Option<&'s Field> {
        match &self.next {
            Next::Nothing => Some(schema.modules[self.module].at(self.place)),
            Next::Record(path) => path.field(schema),
            Next::User(_) => None,
        }
    }

    /// The kind of value at the end.
    pub fn kind(&self, schema: &Schema) -> Kind {
        match self.end() {
            Some(UserField::Id) => Kind::Reference,
            Some(_) => Kind::Text,
            None => self.field(schema).map_or(Kind::Other, Kind::of),
        }
    }

    fn end(&self) -> Option<UserField> {
        match &self.next {
            Next::Nothing => None,
            Next::Record(path) => path.end(),
            Next::User(field) => Some(*field),
        }
    }

    /// How many lookups are followed.
    pub fn joins(&self) -> usize {
        match &self.next {
            Next::Nothing => 0,
            Next::Record(path) => 1 + path.joins(),
            Next::User(_) => 1,
        }
    }

    /// The place of the field when no lookup is followed.
    pub fn own_place(&self) -> Option<u16> {
        (self.next == Next::Nothing).then_some(self.place)
    }

    /// The place of the first step.
    pub fn first_place(&self) -> u16 {
        self.place
    }

    /// The value for one record of the module that the path starts from.
    pub fn value(&self, row: Row<'_>) -> Value {
        match &self.next {
            Next::Nothing => row.get(self.place),
            Next::Record(path) => row.target(self.place).map_or(Value::Null, |target| path.value(target)),
            Next::User(field) => {
                let user = row.get(self.place).as_id().and_then(|id| row.view.store.user(id));
                user.map_or(Value::Null, |user| field.value(user))
            }
        }
    }
}
