//! Cuts the text of a query into tokens, each with its line and column.

use super::Refusal;

/// A place in the text; both counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Character in the line.
    pub column: u32,
}

/// What kind of token, with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A keyword, a module or a column: `Owner.last_name`, `What_Id->Accounts.Name`.
    Word(String),
    /// `'text'`, quotes removed.
    Text(String),
    /// `12`, `-1.5`.
    Number(String),
    /// An operator or a mark of punctuation.
    Symbol(&'static str),
    /// End of the text.
    End,
}

impl Token {
    /// The token as it stood in the text, for errors.
    pub fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Text(text) | Self::Number(text) => text,
            Self::Symbol(symbol) => symbol,
            Self::End => "",
        }
    }
}

/// A token and where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lexeme {
    /// The token.
    pub token: Token,
    /// Its first character.
    pub at: Position,
}

/// Longer symbols first, so that `>=` is not read as `>`.
const SYMBOLS: [&str; 13] = ["!=", ">=", "<=", "<>", "=", ">", "<", ",", "(", ")", "#", "!", ";"];

/// Cuts `text`; the last token is always [`Token::End`].
///
/// # Errors
/// `SYNTAX_ERROR` for a character that starts no token and for a quote that is never closed.
pub fn tokens(text: &str) -> Result<Vec<Lexeme>, Refusal> {
    let mut lexer = Lexer { rest: text, at: Position { line: 1, column: 1 } };
    let mut found = Vec::new();
    loop {
        let lexeme = lexer.next()?;
        let last = lexeme.token == Token::End;
        found.push(lexeme);
        if last {
            return Ok(found);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    at: Position,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Lexeme, Refusal> {
        let blank = self.rest.len() - self.rest.trim_start().len();
        self.take(blank);
        let at = self.at;
        let Some(first) = self.rest.chars().next() else {
            return Ok(Lexeme { token: Token::End, at });
        };
        let token = if first == '\'' {
            Token::Text(self.quoted()?)
        } else if self.starts_number(first) {
            Token::Number(self.while_(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+')))
        } else if is_word(first) {
            Token::Word(self.word())
        } else if let Some(symbol) = SYMBOLS.into_iter().find(|s| self.rest.starts_with(s)) {
            self.take(symbol.len());
            Token::Symbol(symbol)
        } else {
            return Err(Refusal::syntax(at, &first.to_string()));
        };
        Ok(Lexeme { token, at })
    }

    /// Moves over `len` bytes and keeps count of lines and columns.
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        for c in taken.chars() {
            if c == '\n' {
                self.at = Position { line: self.at.line + 1, column: 1 };
            } else {
                self.at.column += 1;
            }
        }
        self.rest = rest;
        taken
    }

    fn while_(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let len = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        self.take(len).to_owned()
    }

    /// A sign counts as part of a number only when a digit follows.
    fn starts_number(&self, first: char) -> bool {
        let second = self.rest[first.len_utf8()..].chars().next();
        first.is_ascii_digit() || (matches!(first, '-' | '+') && second.is_some_and(|c| c.is_ascii_digit()))
    }

    /// Names joined by `.` and `->`.
    fn word(&mut self) -> String {
        let mut word = self.while_(|c| is_word(c) || c == '.');
        while self.rest.starts_with("->") {
            word.push_str(self.take(2));
            word.push_str(&self.while_(|c| is_word(c) || c == '.'));
        }
        word
    }

    /// The inside of a pair of single quotes. A quote inside is written `\'`, a backslash `\\`.
    fn quoted(&mut self) -> Result<String, Refusal> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((index, c)) = chars.next() {
            match c {
                '\'' => {
                    self.take(index + 1);
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, next @ ('\'' | '\\'))) => text.push(next),
                    Some((_, next)) => text.extend(['\\', next]),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(Refusal::syntax(start, "'"))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Token> {
        tokens(text).expect("lexes").into_iter().map(|lexeme| lexeme.token).collect()
    }

    #[test]
    fn names_numbers_text_and_symbols() {
        let word = |text: &str| Token::Word(text.into());
        assert_eq!(
            kinds("a.b>=-1.5 and x != 'it\\'s'"),
            [
                word("a.b"),
                Token::Symbol(">="),
                Token::Number("-1.5".into()),
                word("and"),
                word("x"),
                Token::Symbol("!="),
                Token::Text("it's".into()),
                Token::End,
            ]
        );
        assert_eq!(kinds("What_Id->Accounts.Name")[0], word("What_Id->Accounts.Name"));
    }

    #[test]
    fn counts_lines_and_columns() {
        let found = tokens("select id\n  from Leads").expect("lexes");
        assert_eq!(found[2].at, Position { line: 2, column: 3 });
    }

    #[test]
    fn open_quote_is_a_syntax_error() {
        let refusal = tokens("a = 'x").expect_err("never closed");
        assert_eq!(refusal.code, "SYNTAX_ERROR");
        assert_eq!(refusal.details["column"], 5);
    }
}
