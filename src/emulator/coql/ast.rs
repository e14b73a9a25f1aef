//! The tree of a COQL query, before it is compared with any module.

use super::lexer::Position;

/// A whole `select` statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What to return, in order.
    pub select: Vec<SelectItem>,
    /// The base module.
    pub module: String,
    /// `from Module#<id>`: the custom view to restrict to.
    pub custom_view: Option<String>,
    /// The `where` clause.
    pub condition: Condition,
    /// Columns of `group by`.
    pub group_by: Vec<Column>,
    /// Columns (or aliases) of `order by`.
    pub order_by: Vec<OrderItem>,
    /// Most rows to return; 200 when the query names none.
    pub limit: u64,
    /// Rows to skip.
    pub offset: u64,
}

/// One entry of the select list.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectItem {
    /// The aggregate around the column, if any.
    pub aggregate: Option<Aggregate>,
    /// The column.
    pub column: Column,
    /// `as Name`.
    pub alias: Option<String>,
}

impl SelectItem {
    /// The key under which the value is returned.
    pub fn output_name(&self) -> String {
        match (&self.alias, self.aggregate) {
            (Some(alias), _) => alias.clone(),
            (None, Some(aggregate)) => format!("{}({})", aggregate.as_str(), self.column.text),
            (None, None) => self.column.text.clone(),
        }
    }
}

/// Functions over a group of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// Total of a number column.
    Sum,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Mean of a number column.
    Avg,
    /// Rows with a value.
    Count,
}

impl Aggregate {
    /// Reads the name; only upper case counts.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "SUM" => Self::Sum,
            "MIN" => Self::Min,
            "MAX" => Self::Max,
            "AVG" => Self::Avg,
            "COUNT" => Self::Count,
            _ => return None,
        })
    }

    /// The name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "SUM",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Avg => "AVG",
            Self::Count => "COUNT",
        }
    }
}

/// A column, perhaps reached over lookups.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// As it was written, without quotes; the key of the value in the answer.
    pub text: String,
    /// Field names from the base module outwards; at least one.
    pub path: Vec<String>,
    /// `What_Id->Accounts.Name`: the module that the first step leads to.
    pub target: Option<String>,
    /// Where it stands, for errors.
    pub at: Position,
}

/// One entry of `order by`.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderItem {
    /// The column or an alias.
    pub column: Column,
    /// `desc` was written.
    pub descending: bool,
}

/// The `where` clause: two sides at most on each level.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Both.
    And(Box<Condition>, Box<Condition>),
    /// Either.
    Or(Box<Condition>, Box<Condition>),
    /// One comparison.
    Compare(Comparison),
}

impl Condition {
    /// Number of comparisons, which Zoho calls criteria.
    pub fn count(&self) -> usize {
        match self {
            Self::And(left, right) | Self::Or(left, right) => left.count() + right.count(),
            Self::Compare(_) => 1,
        }
    }
}

/// A column, an operator and what to compare with.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Left side.
    pub column: Column,
    /// Operator.
    pub operator: Operator,
    /// Right side: none for the null tests, two for `between`, any number for `in`, else one.
    pub values: Vec<Literal>,
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// In single quotes.
    Text(String),
    /// Digits, not in quotes.
    Number(String),
}

impl Literal {
    /// The text without quotes.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) => text,
        }
    }
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operator {
    Equal,
    NotEqual,
    Like,
    NotLike,
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
}

impl Operator {
    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Like => "like",
            Self::NotLike => "not like",
            Self::In => "in",
            Self::NotIn => "not in",
            Self::IsNull => "is null",
            Self::IsNotNull => "is not null",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Between => "between",
            Self::NotBetween => "not between",
        }
    }
}
