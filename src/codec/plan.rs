//! The column plan: which fields a record has, in which order, of which kind. Made once per stream;
//! bound to a CSV header once per file.

use super::guard::{Guard, MASK};
use super::value::{Kind, ValueError, write_cell, write_json, write_text};

/// One property of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The property's name: the field's API name, most often.
    pub name: String,
    /// The field that carries it in JSON answers.
    pub field: String,
    /// The column that carries it in CSV files.
    pub cell: String,
    /// The form of its values.
    pub kind: Kind,
    /// What stands in the record instead of them.
    pub guard: Option<Guard>,
    /// The property's name as it stands in the record: `"Last_Name":`.
    pub(super) key: Vec<u8>,
}

impl Column {
    /// A property that is called like its field, and its kind.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        let name = name.into();
        Self::part(name.clone(), kind, name.clone(), name)
    }

    /// A property that is a part of a field: the name of what a lookup points at, say.
    pub fn part(name: String, kind: Kind, field: String, cell: String) -> Self {
        let mut key = Vec::with_capacity(name.len() + 3);
        super::value::string(&name, &mut key);
        key.push(b':');
        Self { name, field, cell, kind, guard: None, key }
    }

    /// Appends the JSON of a CSV cell to `out`.
    pub(super) fn write_cell(&self, cell: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        self.guarded(out, |out| write_cell(self.kind, cell, out))
    }

    /// Appends the JSON of a CSV cell that is UTF-8 to `out`.
    pub(super) fn write_text(&self, cell: &str, out: &mut Vec<u8>) -> Result<(), ValueError> {
        self.guarded(out, |out| write_text(self.kind, cell, out))
    }

    /// Appends the record form of a JSON value to `out`.
    pub(super) fn write_json(&self, value: &str, out: &mut Vec<u8>) -> Result<(), ValueError> {
        self.guarded(out, |out| write_json(self.kind, value, out))
    }

    fn guarded(
        &self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), ValueError>,
    ) -> Result<(), ValueError> {
        let Some(guard) = &self.guard else { return write(out) };
        let start = out.len();
        // An error shows what was found, which must not be seen either.
        write(out).map_err(|error| ValueError { found: MASK.to_owned(), ..error })?;
        guard.apply(start, out);
        Ok(())
    }
}

/// The properties of a stream's records, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordPlan {
    /// The properties; `id` first by convention.
    pub columns: Vec<Column>,
}

/// A CSV file that lacks a column the plan needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the file has no column `{column}`; its header is `{header}`")]
pub struct MissingColumn {
    /// The property that has no column.
    pub column: String,
    /// The header as found.
    pub header: String,
}

impl RecordPlan {
    /// A plan of these columns.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect() }
    }

    /// Where the column of this name stands in the record.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// For each property the index of its cell in a file with this header.
    ///
    /// Bulk Read spells the id column `Id` where the field is `id`, and a file may start with a byte
    /// order mark; columns that nobody asked for are passed over.
    ///
    /// # Errors
    /// When a property has no column.
    pub fn cells(&self, header: &[&str]) -> Result<Vec<usize>, MissingColumn> {
        let names: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
        let find = |column: &Column| {
            let exact = names.iter().position(|name| *name == column.cell);
            let id = || names.iter().position(|name| column.cell == "id" && name.eq_ignore_ascii_case("id"));
            exact
                .or_else(id)
                .ok_or_else(|| MissingColumn { column: column.cell.clone(), header: names.join(",") })
        };
        self.columns.iter().map(find).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_may_spell_id_its_own_way_and_carry_more() {
        let plan = RecordPlan::new([Column::new("id", Kind::Id), Column::new("B", Kind::Text)]);
        assert_eq!(plan.cells(&["\u{feff}Id", "A", "B"]), Ok(vec![0, 2]));
        let missing = plan.cells(&["Id", "A"]).expect_err("B is not there");
        assert_eq!(missing.to_string(), "the file has no column `B`; its header is `Id,A`");
    }
}
