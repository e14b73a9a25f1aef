//! A query compared with the module's fields and with Zoho's limits; the result can only be run.
//!
//! Follows "COQL", section Operators, and "COQL limitations".

use super::Refusal;
use super::ast::{Aggregate, Column, Comparison, Condition, Literal, Operator, Query, SelectItem};
use crate::emulator::filter::{Filter, Kind, Test, TextTest, operand};
use crate::emulator::path::Path;
use crate::emulator::schema::{DataType, Schema};
use crate::emulator::value::Value as Cell;
use serde_json::json;

/// What one query may ask for. Sources contradict each other: see the API reference, section COQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Rows per call.
    pub rows: u64,
    /// Rows that an offset can reach.
    pub reach: u64,
    /// Columns of the select list.
    pub columns: usize,
    /// Conditions.
    pub criteria: usize,
    /// Values of `in` and `not in`.
    pub values: usize,
    /// Columns of `order by`.
    pub order_by: usize,
    /// Columns of `group by`.
    pub group_by: usize,
    /// Aggregates.
    pub aggregates: usize,
    /// Lookups followed one after another in one name.
    pub depth: usize,
    /// Lookups followed by the select list.
    pub joins: usize,
    /// Whether Notes can be queried although the schema says no.
    pub notes: bool,
    /// Fields that cannot be queried although the schema has them.
    pub refused: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 2_000,
            reach: 100_000,
            columns: 500,
            criteria: 25,
            values: 100,
            order_by: 10,
            group_by: 4,
            aggregates: 5,
            depth: 2,
            joins: 15,
            notes: false,
            refused: Vec::new(),
        }
    }
}

/// A query that can be run.
#[derive(Debug)]
pub struct Plan {
    /// Place of the module in the schema.
    pub module: usize,
    /// What to return.
    pub columns: Vec<Output>,
    /// Which rows.
    pub filter: Filter<Path>,
    /// Columns that make groups.
    pub group_by: Vec<Path>,
    /// Order of the rows, by columns of the module.
    pub order_by: Vec<(Path, bool)>,
    /// Order of the groups, by place in [`Plan::columns`].
    pub group_order: Vec<(usize, bool)>,
    /// Most rows to return.
    pub limit: usize,
    /// Rows to skip.
    pub offset: usize,
}

/// One column of the answer.
#[derive(Debug)]
pub struct Output {
    /// Its key.
    pub name: String,
    /// Where its value is.
    pub path: Path,
    /// The function over a group of rows.
    pub aggregate: Option<Aggregate>,
}

impl Plan {
    /// Whether the rows of the answer are groups.
    pub fn is_grouped(&self) -> bool {
        !self.group_by.is_empty() || self.columns.iter().any(|column| column.aggregate.is_some())
    }
}

/// Checks a query.
///
/// # Errors
/// The codes of the query call; see [`Refusal`].
pub fn check(query: &Query, schema: &Schema, limits: &Limits) -> Result<Plan, Refusal> {
    let known = schema.position(&query.module).map(|at| (at, &schema.modules[at]));
    let Some((module, _)) = known.filter(|(_, module)| {
        module.api_supported && (module.coql || (limits.notes && module.api_name == "Notes"))
    }) else {
        return Err(Refusal::new("INVALID_MODULE", "the module name given seems to be invalid", json!({})));
    };
    if let Some(view) = &query.custom_view {
        return Err(Refusal::invalid(json!({"cvid": view})));
    }
    check_limits(query, limits)?;
    let checker = Checker { schema, module, limits };
    let columns = query.select.iter().map(|item| checker.output(item)).collect::<Result<Vec<_>, _>>()?;
    check_duplicates(&query.select)?;
    checker.check_joins(&columns)?;
    let filter = checker.condition(&query.condition)?;
    let group_by = query.group_by.iter().map(|column| checker.column(column, "group by"));
    let group_by = group_by.collect::<Result<Vec<_>, _>>()?;
    let (limit, offset) = (query.limit as usize, query.offset as usize);
    let (order_by, group_order) = (Vec::new(), Vec::new());
    let mut plan = Plan { module, columns, filter, group_by, order_by, group_order, limit, offset };
    if plan.is_grouped() {
        checker.check_groups(&plan)?;
        plan.group_order = checker.group_order(query, &plan)?;
    } else {
        plan.order_by = checker.row_order(query, &plan)?;
    }
    Ok(plan)
}

fn check_limits(query: &Query, limits: &Limits) -> Result<(), Refusal> {
    let aggregates = query.select.iter().filter(|item| item.aggregate.is_some()).count();
    for (clause, found, most) in [
        ("select", query.select.len(), limits.columns),
        ("where", query.condition.count(), limits.criteria),
        ("group by", query.group_by.len(), limits.group_by),
        ("order by", query.order_by.len(), limits.order_by),
        ("aggregate", aggregates, limits.aggregates),
    ] {
        if found > most {
            return Err(Refusal::limit(clause, most));
        }
    }
    if query.limit > limits.rows {
        return Err(Refusal::limit("limit", limits.rows as usize));
    }
    if query.limit == 0 {
        return Err(Refusal::invalid(json!({"limit": "0"})));
    }
    if query.offset.saturating_add(query.limit) > limits.reach {
        return Err(Refusal::limit("offset", limits.reach as usize));
    }
    Ok(())
}

fn check_duplicates(select: &[SelectItem]) -> Result<(), Refusal> {
    for (number, item) in select.iter().enumerate() {
        for earlier in &select[..number] {
            let name = &item.column.text;
            if item.alias.is_some() && item.alias == earlier.alias {
                let details = json!({"alias": item.alias, "referred_columns": [earlier.column.text, name]});
                return Err(Refusal::new("DUPLICATE_ALIAS", "duplicate alias", details));
            }
            if earlier.column.path == item.column.path && earlier.aggregate == item.aggregate {
                let details = match item.aggregate {
                    Some(aggregate) => json!({"column_name": name, "aggregate": aggregate.as_str()}),
                    None => json!({"column_name": name}),
                };
                return Err(Refusal::new("DUPLICATE_DATA", "duplicate select column", details));
            }
        }
    }
    Ok(())
}

struct Checker<'a> {
    schema: &'a Schema,
    module: usize,
    limits: &'a Limits,
}

impl Checker<'_> {
    fn column(&self, column: &Column, clause: &str) -> Result<Path, Refusal> {
        let steps = column.path.iter().map(String::as_str);
        let path = Path::find(self.schema, self.module, steps);
        let path = path.ok_or_else(|| Refusal::invalid(json!({"column_name": column.text})))?;
        let refused = path.field(self.schema).is_some_and(|field| {
            field.data_type.is_rows()
                || matches!(field.data_type, DataType::ImageUpload | DataType::FileUpload)
        });
        if refused || self.limits.refused.contains(&column.text) {
            return Err(Refusal::invalid(json!({"column_name": column.text, "clause": clause})));
        }
        if path.joins() > self.limits.depth {
            return Err(Refusal::limit("join", self.limits.depth));
        }
        Ok(path)
    }

    fn output(&self, item: &SelectItem) -> Result<Output, Refusal> {
        let path = self.column(&item.column, "select")?;
        if let Some(aggregate) = item.aggregate {
            self.check_aggregate(aggregate, &path, &item.column)?;
        }
        Ok(Output { name: item.output_name(), path, aggregate: item.aggregate })
    }

    fn check_aggregate(&self, aggregate: Aggregate, path: &Path, column: &Column) -> Result<(), Refusal> {
        let fits = match (aggregate, path.kind(self.schema)) {
            (Aggregate::Count, kind) => kind != Kind::Other,
            (Aggregate::Sum | Aggregate::Avg, kind) => kind == Kind::Number,
            (Aggregate::Min | Aggregate::Max, kind) => {
                matches!(kind, Kind::Number | Kind::Date | Kind::DateTime | Kind::Id)
            }
        };
        if fits {
            return Ok(());
        }
        let details =
            json!({"reason": "unsupported aggregate function for the column", "column": column.text});
        Err(Refusal::new("INVALID_DATA", "invalid data", details))
    }

    /// Counts each lookup once, however many of its columns are selected.
    fn check_joins(&self, columns: &[Output]) -> Result<(), Refusal> {
        let joined = columns.iter().filter(|column| column.path.joins() > 0);
        let mut places: Vec<u16> = joined.map(|column| column.path.first_place()).collect();
        places.sort_unstable();
        places.dedup();
        if places.len() > self.limits.joins { Err(Refusal::limit("join", self.limits.joins)) } else { Ok(()) }
    }

    fn check_groups(&self, plan: &Plan) -> Result<(), Refusal> {
        let stray = plan
            .columns
            .iter()
            .find(|column| column.aggregate.is_none() && !plan.group_by.contains(&column.path));
        match stray {
            Some(column) => Err(Refusal::invalid(json!({"column_name": column.name, "clause": "group by"}))),
            None => Ok(()),
        }
    }

    /// Groups can be ordered by what is selected: by alias, by column, or by `SUM(x)` without one.
    fn group_order(&self, query: &Query, plan: &Plan) -> Result<Vec<(usize, bool)>, Refusal> {
        let place = |column: &Column| {
            let named = plan.columns.iter().position(|output| output.name == column.text);
            named.or_else(|| query.select.iter().position(|item| item.column.path == column.path))
        };
        let order = query.order_by.iter().map(|item| {
            let missing = || Refusal::invalid(json!({"column_name": item.column.text, "clause": "order by"}));
            place(&item.column).map(|at| (at, item.descending)).ok_or_else(missing)
        });
        order.collect()
    }

    fn row_order(&self, query: &Query, plan: &Plan) -> Result<Vec<(Path, bool)>, Refusal> {
        let order = query.order_by.iter().map(|item| {
            let aliased =
                query.select.iter().position(|select| select.alias.as_deref() == Some(&item.column.text));
            let path = match aliased {
                Some(at) => plan.columns[at].path.clone(),
                None => self.column(&item.column, "order by")?,
            };
            Ok((path, item.descending))
        });
        order.collect()
    }

    fn condition(&self, condition: &Condition) -> Result<Filter<Path>, Refusal> {
        Ok(match condition {
            Condition::And(left, right) => Filter::All(vec![self.condition(left)?, self.condition(right)?]),
            Condition::Or(left, right) => Filter::Any(vec![self.condition(left)?, self.condition(right)?]),
            Condition::Compare(comparison) => {
                let path = self.column(&comparison.column, "where")?;
                let kind = path.kind(self.schema);
                let is_long =
                    path.field(self.schema).is_some_and(|field| field.data_type == DataType::TextArea);
                if kind == Kind::Other || is_long {
                    let details = json!({"column_name": comparison.column.text, "clause": "where"});
                    return Err(Refusal::invalid(details));
                }
                Filter::Test(path, self.test(comparison, kind)?)
            }
        })
    }

    fn test(&self, comparison: &Comparison, kind: Kind) -> Result<Test, Refusal> {
        let operator = comparison.operator;
        if !operators(kind).contains(&operator) {
            let reason = "invalid operator found";
            let details = json!({"reason": reason, "column_name": comparison.column.text, "operator": operator.as_str()});
            return Err(Refusal::invalid(details));
        }
        if comparison.values.len() > self.limits.values {
            return Err(Refusal::limit(operator.as_str(), self.limits.values));
        }
        if matches!(operator, Operator::Like | Operator::NotLike) {
            return like(comparison);
        }
        let values = comparison.values.iter().map(|value| typed(comparison, kind, value));
        let mut values = values.collect::<Result<Vec<Cell>, _>>()?;
        let last = values.pop().unwrap_or_default();
        let first = values.first().cloned().unwrap_or_default();
        Ok(match operator {
            Operator::Equal => Test::Equal(last),
            Operator::NotEqual => Test::NotEqual(last),
            Operator::Greater => Test::Greater(last),
            Operator::GreaterEqual => Test::GreaterEqual(last),
            Operator::Less => Test::Less(last),
            Operator::LessEqual => Test::LessEqual(last),
            Operator::Between => Test::Between(first, last),
            Operator::NotBetween => Test::NotBetween(first, last),
            Operator::IsNull => Test::Null,
            Operator::IsNotNull => Test::NotNull,
            Operator::In => Test::In([values, vec![last]].concat()),
            _ => Test::NotIn([values, vec![last]].concat()),
        })
    }
}

/// `not like` is taken with `%` at both ends only.
fn like(comparison: &Comparison) -> Result<Test, Refusal> {
    let Literal::Text(pattern) = &comparison.values[0] else {
        return Err(bad_value(comparison, &comparison.values[0]));
    };
    let (test, text) = TextTest::from_pattern(pattern);
    match (comparison.operator, test) {
        (Operator::Like, _) => Ok(Test::Text(test, text)),
        (_, TextTest::Contains) => Ok(Test::NotText(test, text)),
        _ => Err(bad_value(comparison, &comparison.values[0])),
    }
}

/// Only numbers and ids may stand without quotes.
fn typed(comparison: &Comparison, kind: Kind, literal: &Literal) -> Result<Cell, Refusal> {
    let bare_allowed = matches!(kind, Kind::Number | Kind::Id | Kind::Reference);
    let value = match literal {
        Literal::Number(_) if !bare_allowed => None,
        literal => operand(kind, literal.as_str()),
    };
    value.ok_or_else(|| bad_value(comparison, literal))
}

fn bad_value(comparison: &Comparison, literal: &Literal) -> Refusal {
    Refusal::invalid(json!({
        "cv_criteria": false,
        "column_name": comparison.column.text,
        "value": literal.as_str(),
        "operator": comparison.operator.as_str(),
    }))
}

fn operators(kind: Kind) -> &'static [Operator] {
    use Operator::*;
    match kind {
        Kind::Text | Kind::MultiSelect => &[Equal, NotEqual, Like, NotLike, In, NotIn, IsNull, IsNotNull],
        Kind::Reference => &[Equal, NotEqual, In, NotIn, IsNull, IsNotNull],
        Kind::Boolean => &[Equal],
        Kind::Number | Kind::Date | Kind::DateTime | Kind::Id => &[
            Equal,
            NotEqual,
            In,
            NotIn,
            IsNull,
            IsNotNull,
            Greater,
            GreaterEqual,
            Less,
            LessEqual,
            Between,
            NotBetween,
        ],
        Kind::Other => &[],
    }
}
