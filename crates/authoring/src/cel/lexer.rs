//! Text to tokens: the lexis of the CEL specification (section "Syntax").

use std::ops::Range;

use super::{CelError, CelErrorKind};

/// A token and where it stands, in characters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) range: Range<usize>,
    pub(super) kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// An identifier or a word of CEL.
    Name(String),
    /// A member's name in backquotes.
    Quoted(String),
    Text(String),
    Bytes,
    Whole(u64),
    Unsigned(u64),
    /// A double, spelled as JSON does.
    Real(String),
    Symbol(&'static str),
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// The tokens of a text; the last one is `End`.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, CelError> {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        let start = lexer.at;
        let kind = lexer.token()?;
        let end = kind == TokenKind::End;
        tokens.push(Token { range: start..lexer.at, kind });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

type Lexed<T> = Result<T, CelError>;

impl Lexer<'_> {
    fn rest(&self) -> &[char] {
        self.chars.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().first().copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    /// Steps over `text` if it is next.
    fn skip(&mut self, text: &str) -> bool {
        let length = text.chars().count();
        let found = self.rest().iter().take(length).copied().eq(text.chars());
        self.at += if found { length } else { 0 };
        found
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let taken: String = self.rest().iter().copied().take_while(|c| wanted(*c)).collect();
        self.at += taken.chars().count();
        taken
    }

    fn skip_space(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}'));
            if !self.skip("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn token(&mut self) -> Lexed<TokenKind> {
        match self.rest() {
            [] => Ok(TokenKind::End),
            ['.', digit, ..] | [digit, ..] if digit.is_ascii_digit() => self.number(),
            ['"' | '\'', ..] => self.string(false).map(TokenKind::Text),
            ['`', ..] => self.quoted(),
            [first, ..] if first.is_ascii_alphabetic() || *first == '_' => self.name(),
            [other, ..] => self.symbol(*other),
        }
    }

    /// A name, or a text with letters before its quotes.
    fn name(&mut self) -> Lexed<TokenKind> {
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if !matches!(self.peek(), Some('"' | '\'')) {
            return Ok(TokenKind::Name(name));
        }
        match name.to_ascii_lowercase().as_str() {
            "r" => self.string(true).map(TokenKind::Text),
            "b" => self.string(false).map(|_| TokenKind::Bytes),
            "rb" | "br" => self.string(true).map(|_| TokenKind::Bytes),
            _ => Ok(TokenKind::Name(name)),
        }
    }

    fn quoted(&mut self) -> Lexed<TokenKind> {
        let start = self.at;
        self.at += 1;
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' '));
        if self.skip("`") && !name.is_empty() {
            return Ok(TokenKind::Quoted(name));
        }
        let help = "such a name has letters, digits and `_.-/ `; any other stands in brackets, as `[\"...\"]`";
        Err(self.error(start, "a name in backquotes does not end").with_help(help))
    }

    fn symbol(&mut self, first: char) -> Lexed<TokenKind> {
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.skip(symbol)) {
            return Ok(TokenKind::Symbol(symbol));
        }
        let error = self.error(self.at, format!("unexpected `{}`", first.escape_debug()));
        Err(match first {
            '=' if self.rest().get(1) == Some(&'~') => {
                error.with_help("write `.matches(\"...\")` behind the attribute")
            }
            '=' => error.with_help("write `==` to compare"),
            '&' => error.with_help("write `&&` for \"and\""),
            '|' => error.with_help("write `||` for \"or\""),
            _ if first.is_alphabetic() => error.with_help("put such a name in brackets, as in `body[\"größe\"]`"),
            _ => error,
        })
    }

    fn number(&mut self) -> Lexed<TokenKind> {
        let start = self.at;
        let kind = if self.skip("0x") || self.skip("0X") {
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            self.whole(start, &digits, 16)?
        } else {
            self.decimal(start)?
        };
        let behind = self.take_while(|c| c.is_alphanumeric() || c == '_');
        if behind.is_empty() { Ok(kind) } else { Err(self.error(start, format!("`{behind}` stands behind a number"))) }
    }

    fn decimal(&mut self, start: usize) -> Lexed<TokenKind> {
        let digits = |lexer: &mut Self| lexer.take_while(|c| c.is_ascii_digit());
        let whole = digits(self);
        let mut tail = String::new();
        if matches!(self.rest(), ['.', digit, ..] if digit.is_ascii_digit()) {
            self.at += 1;
            tail = format!(".{}", digits(self));
        }
        if self.skip("e") || self.skip("E") {
            let sign = if self.skip("-") { "-" } else { "" };
            let _plus = sign.is_empty() && self.skip("+");
            let exponent = digits(self);
            if exponent.is_empty() {
                return Err(self.error(start, "an exponent without digits"));
            }
            tail += &format!("e{sign}{exponent}");
        }
        if tail.is_empty() {
            return self.whole(start, &whole, 10);
        }
        let whole = whole.trim_start_matches('0');
        Ok(TokenKind::Real(format!("{}{tail}", if whole.is_empty() { "0" } else { whole })))
    }

    fn whole(&mut self, start: usize, digits: &str, radix: u32) -> Lexed<TokenKind> {
        let kind = if self.skip("u") || self.skip("U") { TokenKind::Unsigned } else { TokenKind::Whole };
        let value = u64::from_str_radix(digits, radix);
        value.map(kind).map_err(|_| self.error(start, "not a whole number of at most 64 bits"))
    }

    /// A text in one or three quotes of a kind.
    fn string(&mut self, raw: bool) -> Lexed<String> {
        let start = self.at;
        let quote = if self.peek() == Some('"') { "\"" } else { "'" };
        let triple = self.skip(&quote.repeat(3));
        let close = quote.repeat(if triple { 3 } else { 1 });
        self.at += usize::from(!triple);
        let mut out = String::new();
        while !self.skip(&close) {
            match self.next() {
                Some('\\') if !raw => out.push(self.escape()?),
                Some('\n' | '\r') if !triple => {
                    self.at -= 1;
                    let error = self.error(start, "a text does not end in its line");
                    return Err(error.with_help("write a line break as `\\n`, or the text in three quotes"));
                }
                Some(other) => out.push(other),
                None => {
                    return Err(self.error(start, "a text does not end").with_help(format!("close it with `{close}`")));
                }
            }
        }
        Ok(out)
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Lexed<char> {
        let start = self.at - 1;
        let character = match self.next() {
            Some('a') => Some('\u{7}'),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\u{b}'),
            Some(same @ ('\\' | '?' | '"' | '\'' | '`')) => Some(same),
            Some('x' | 'X') => self.code(2, 16),
            Some('u') => self.code(4, 16),
            Some('U') => self.code(8, 16),
            Some('0'..='3') => {
                self.at -= 1;
                self.code(3, 8)
            }
            _ => None,
        };
        let help = "write a backslash as `\\\\`, or the text raw, as `r\"...\"`";
        character.ok_or_else(|| self.error(start, "not an escape that CEL knows").with_help(help))
    }

    /// The character that `count` digits number.
    fn code(&mut self, count: usize, radix: u32) -> Option<char> {
        let digits: String = self.rest().iter().take(count).filter(|c| c.is_digit(radix)).collect();
        self.at += digits.len();
        let code = u32::from_str_radix(&digits, radix).ok().filter(|_| digits.len() == count)?;
        char::from_u32(code)
    }

    fn error(&self, start: usize, message: impl Into<String>) -> CelError {
        CelError::new(CelErrorKind::Syntax, start..self.at.max(start + 1), message)
    }
}
