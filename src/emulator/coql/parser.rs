//! Tokens to tree, by recursive descent.
//!
//! Zoho wants more than two conditions bracketed in pairs: a level holds one connective at most, so
//! `a and b and c` is a syntax error and `((a and b) and c)` is not.

use super::Refusal;
use super::ast::{Aggregate, Column, Comparison, Condition, Literal, Operator, OrderItem, Query, SelectItem};
use super::lexer::{Lexeme, Token, tokens};

/// Rows of a query that names no limit.
pub const DEFAULT_LIMIT: u64 = 200;

/// Deepest nesting of brackets; beyond it the text is refused before the stack is.
const MAX_DEPTH: usize = 100;

/// Reads a whole query.
///
/// # Errors
/// `SYNTAX_ERROR` with line, column and the text at that place, or with the missing clause;
/// `INVALID_ALIAS` for an empty alias.
pub fn parse(text: &str) -> Result<Query, Refusal> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0 };
    let query = parser.query()?;
    parser.end()?;
    Ok(query)
}

struct Parser {
    tokens: Vec<Lexeme>,
    next: usize,
}

impl Parser {
    fn query(&mut self) -> Result<Query, Refusal> {
        self.expect_word("select")?;
        let select = self.list(Self::select_item)?;
        self.expect_word("from")?;
        let module = self.word()?;
        let custom_view = if self.symbol("#") { Some(self.bump().token.text().to_owned()) } else { None };
        if !self.keyword("where") {
            return Err(match self.peek().token {
                Token::End => Refusal::missing_clause("where"),
                _ if self.at_clause() => Refusal::missing_clause("where"),
                _ => self.error(),
            });
        }
        let condition = self.condition(0)?;
        let group_by = if self.two_words("group", "by")? { self.list(Self::column)? } else { Vec::new() };
        let order_by = if self.two_words("order", "by")? { self.list(Self::order_item)? } else { Vec::new() };
        let (limit, offset) = self.limit()?;
        Ok(Query { select, module, custom_view, condition, group_by, order_by, limit, offset })
    }

    fn at_clause(&self) -> bool {
        ["group", "order", "limit", "offset"].iter().any(|word| self.is_word(word))
    }

    /// `limit n`, `limit offset, n` and `limit n offset m`; `offset m` alone is read too.
    fn limit(&mut self) -> Result<(u64, u64), Refusal> {
        let mut limit = DEFAULT_LIMIT;
        if self.keyword("limit") {
            let first = self.whole_number()?;
            if self.symbol(",") {
                return Ok((self.whole_number()?, first));
            }
            limit = first;
        }
        let offset = if self.keyword("offset") { self.whole_number()? } else { 0 };
        Ok((limit, offset))
    }

    fn select_item(&mut self) -> Result<SelectItem, Refusal> {
        let aggregate = self.aggregate_name();
        let column = if aggregate.is_some() {
            self.expect_symbol("(")?;
            let column = self.column()?;
            self.expect_symbol(")")?;
            column
        } else {
            self.column()?
        };
        let alias = if self.keyword("as") { Some(self.alias(&column)?) } else { None };
        Ok(SelectItem { aggregate, column, alias })
    }

    /// An aggregate only if a bracket follows: `COUNT` alone may be a field.
    fn aggregate_name(&mut self) -> Option<Aggregate> {
        let Token::Word(name) = &self.peek().token else { return None };
        let aggregate = Aggregate::from_name(name)?;
        if self.tokens.get(self.next + 1).is_some_and(|l| l.token == Token::Symbol("(")) {
            self.next += 1;
            return Some(aggregate);
        }
        None
    }

    fn alias(&mut self, column: &Column) -> Result<String, Refusal> {
        match self.bump() {
            Lexeme { token: Token::Word(text) | Token::Text(text), .. } if !text.trim().is_empty() => {
                Ok(text)
            }
            Lexeme { token: Token::Text(_), .. } => {
                let details = serde_json::json!({"alias": "", "column_name": column.text});
                Err(Refusal::new("INVALID_ALIAS", "invalid alias name", details))
            }
            other => Err(Refusal::syntax(other.at, other.token.text())),
        }
    }

    /// A bare or quoted column; `!Module.` in front says that the first word is a module.
    fn column(&mut self) -> Result<Column, Refusal> {
        let with_module = self.symbol("!");
        let lexeme = self.bump();
        let (Token::Word(text) | Token::Text(text)) = lexeme.token else {
            return Err(Refusal::syntax(lexeme.at, lexeme.token.text()));
        };
        let (steps, target) = match text.split_once("->") {
            Some((first, rest)) => {
                let (module, rest) = rest.split_once('.').unwrap_or((rest, "id"));
                (format!("{first}.{rest}"), Some(module.to_owned()))
            }
            None => (text.clone(), None),
        };
        let mut path: Vec<String> = steps.split('.').map(str::to_owned).collect();
        if with_module && path.len() > 1 {
            path.remove(0);
        }
        if path.iter().any(String::is_empty) {
            return Err(Refusal::syntax(lexeme.at, &text));
        }
        Ok(Column { text, path, target, at: lexeme.at })
    }

    fn order_item(&mut self) -> Result<OrderItem, Refusal> {
        let column = self.column()?;
        let descending = self.keyword("desc");
        if !descending {
            self.keyword("asc");
        }
        Ok(OrderItem { column, descending })
    }

    /// One level: a condition, or two with a connective between them.
    fn condition(&mut self, depth: usize) -> Result<Condition, Refusal> {
        let left = self.operand(depth)?;
        if self.keyword("and") {
            Ok(Condition::And(Box::new(left), Box::new(self.operand(depth)?)))
        } else if self.keyword("or") {
            Ok(Condition::Or(Box::new(left), Box::new(self.operand(depth)?)))
        } else {
            Ok(left)
        }
    }

    fn operand(&mut self, depth: usize) -> Result<Condition, Refusal> {
        if depth >= MAX_DEPTH {
            return Err(self.error());
        }
        if self.symbol("(") {
            let inner = self.condition(depth + 1)?;
            self.expect_symbol(")")?;
            return Ok(inner);
        }
        self.comparison().map(Condition::Compare)
    }

    fn comparison(&mut self) -> Result<Comparison, Refusal> {
        let column = self.column()?;
        let operator = self.operator()?;
        let values = match operator {
            Operator::IsNull | Operator::IsNotNull => Vec::new(),
            Operator::In | Operator::NotIn => {
                self.expect_symbol("(")?;
                let values = self.list(Self::literal)?;
                self.expect_symbol(")")?;
                values
            }
            Operator::Between | Operator::NotBetween => {
                let low = self.literal()?;
                self.expect_word("and")?;
                vec![low, self.literal()?]
            }
            _ => vec![self.literal()?],
        };
        Ok(Comparison { column, operator, values })
    }

    fn operator(&mut self) -> Result<Operator, Refusal> {
        let lexeme = self.bump();
        Ok(match &lexeme.token {
            Token::Symbol("=") => Operator::Equal,
            Token::Symbol("!=") => Operator::NotEqual,
            Token::Symbol(">") => Operator::Greater,
            Token::Symbol(">=") => Operator::GreaterEqual,
            Token::Symbol("<") => Operator::Less,
            Token::Symbol("<=") => Operator::LessEqual,
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "like" => Operator::Like,
                "in" => Operator::In,
                "between" => Operator::Between,
                "is" => self.null_test()?,
                "not" => self.negated()?,
                _ => return Err(Refusal::syntax(lexeme.at, lexeme.token.text())),
            },
            _ => return Err(Refusal::syntax(lexeme.at, lexeme.token.text())),
        })
    }

    fn null_test(&mut self) -> Result<Operator, Refusal> {
        let negated = self.keyword("not");
        self.expect_word("null")?;
        Ok(if negated { Operator::IsNotNull } else { Operator::IsNull })
    }

    fn negated(&mut self) -> Result<Operator, Refusal> {
        if self.keyword("like") {
            Ok(Operator::NotLike)
        } else if self.keyword("in") {
            Ok(Operator::NotIn)
        } else if self.keyword("between") {
            Ok(Operator::NotBetween)
        } else {
            Err(self.error())
        }
    }

    fn literal(&mut self) -> Result<Literal, Refusal> {
        match self.bump() {
            Lexeme { token: Token::Text(text), .. } => Ok(Literal::Text(text)),
            Lexeme { token: Token::Number(text), .. } => Ok(Literal::Number(text)),
            other => Err(Refusal::syntax(other.at, other.token.text())),
        }
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, Refusal>) -> Result<Vec<T>, Refusal> {
        let mut items = vec![item(self)?];
        while self.symbol(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn peek(&self) -> &Lexeme {
        &self.tokens[self.next]
    }

    /// The next token; the end is returned again and again.
    fn bump(&mut self) -> Lexeme {
        let lexeme = self.tokens[self.next].clone();
        if lexeme.token != Token::End {
            self.next += 1;
        }
        lexeme
    }

    fn error(&self) -> Refusal {
        let lexeme = self.peek();
        Refusal::syntax(lexeme.at, lexeme.token.text())
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.peek().token, Token::Word(text) if text.eq_ignore_ascii_case(word))
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.next += 1;
        }
        found
    }

    fn two_words(&mut self, first: &str, second: &str) -> Result<bool, Refusal> {
        if !self.keyword(first) {
            return Ok(false);
        }
        self.expect_word(second).map(|()| true)
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Refusal> {
        if self.keyword(word) { Ok(()) } else { Err(self.error()) }
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek().token, Token::Symbol(found) if found == symbol);
        if found {
            self.next += 1;
        }
        found
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<(), Refusal> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.error()) }
    }

    fn word(&mut self) -> Result<String, Refusal> {
        match self.bump() {
            Lexeme { token: Token::Word(text), .. } => Ok(text),
            other => Err(Refusal::syntax(other.at, other.token.text())),
        }
    }

    fn whole_number(&mut self) -> Result<u64, Refusal> {
        let lexeme = self.bump();
        match &lexeme.token {
            Token::Number(text) => text.parse().map_err(|_| Refusal::syntax(lexeme.at, text)),
            other => Err(Refusal::syntax(lexeme.at, other.text())),
        }
    }

    /// Nothing but a closing semicolon may follow.
    fn end(&mut self) -> Result<(), Refusal> {
        self.symbol(";");
        match self.peek().token {
            Token::End => Ok(()),
            _ => Err(self.error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Refusal {
        parse(text).expect_err("refused")
    }

    #[test]
    fn reads_a_full_query() {
        let query = parse(
            "SELECT Last_Name, Account_Name.Account_Name as 'Company', SUM(Amount) FROM Deals \
             WHERE ((Amount between 1 and 2.5 and Stage in ('A', 'B')) or Last_Name not like '%x%') \
             GROUP BY Last_Name ORDER BY Last_Name DESC, id LIMIT 10, 20",
        )
        .expect("parses");
        assert_eq!(query.module, "Deals");
        assert_eq!(query.select[1].output_name(), "Company");
        assert_eq!(query.select[1].column.path, ["Account_Name", "Account_Name"]);
        assert_eq!(query.select[2].output_name(), "SUM(Amount)");
        assert_eq!(query.condition.count(), 3);
        assert_eq!((query.offset, query.limit), (10, 20));
        assert!(query.order_by[0].descending && !query.order_by[1].descending);
    }

    #[test]
    fn three_spellings_of_the_limit() {
        let limits = |tail: &str| {
            let query = parse(&format!("select id from Leads where id is not null {tail}")).expect("parses");
            (query.limit, query.offset)
        };
        assert_eq!(limits(""), (200, 0));
        assert_eq!(limits("limit 5"), (5, 0));
        assert_eq!(limits("limit 7, 5"), (5, 7));
        assert_eq!(limits("limit 5 offset 7"), (5, 7));
    }

    #[test]
    fn between_keeps_its_own_and() {
        let query = parse("select id from Leads where a between 1 and 2 and b = 'x'").expect("parses");
        assert_eq!(query.condition.count(), 2);
    }

    #[test]
    fn three_conditions_need_brackets() {
        let refusal = refused("select id from Leads where a = 1 and b = 2 and c = 3");
        assert_eq!(refusal.code, "SYNTAX_ERROR");
        assert_eq!((&refusal.details["column"], &refusal.details["near"]), (&44.into(), &"and".into()));
        assert!(parse("select id from Leads where ((a = 1 and b = 2) and c = 3)").is_ok());
        assert!(parse("select id from Leads where (a = 1 and (b = 2 or c = 3))").is_ok());
    }

    #[test]
    fn where_is_mandatory() {
        for text in ["select id from Leads", "select id from Leads limit 3"] {
            assert_eq!(refused(text).details["clause"], "where", "{text}");
        }
        assert_eq!(refused("select id from Leads wher id = 1").details["near"], "wher");
    }

    #[test]
    fn says_where_it_stopped() {
        let refusal = refused("select id\nfrom Leads\nwhere id ~ 3");
        assert_eq!((&refusal.details["line"], &refusal.details["column"]), (&3.into(), &10.into()));
        assert_eq!(refused("select id from Leads where id =").details["near"], "");
        assert_eq!(refused("select id, from Leads where id = 1").code, "SYNTAX_ERROR");
        assert_eq!(refused("select id from Leads where active = true").details["near"], "true");
    }

    #[test]
    fn lookups_prefixes_and_jumps() {
        let query = parse(
            "select !Leads.Owner.role.id, 'What_Id->Accounts.Account_Type' from Tasks#12 where id is not null",
        )
        .expect("parses");
        assert_eq!(query.select[0].column.path, ["Owner", "role", "id"]);
        assert_eq!(query.select[1].column.target.as_deref(), Some("Accounts"));
        assert_eq!(query.select[1].column.path, ["What_Id", "Account_Type"]);
        assert_eq!(query.custom_view.as_deref(), Some("12"));
    }

    #[test]
    fn empty_alias() {
        assert_eq!(refused("select id as '' from Leads where id is not null").code, "INVALID_ALIAS");
    }

    #[test]
    fn deep_brackets_are_refused_not_fatal() {
        let text = format!("select id from Leads where {}id = 1", "(".repeat(100_000));
        assert_eq!(refused(&text).code, "SYNTAX_ERROR");
    }
}
