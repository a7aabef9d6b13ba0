//! Words of a rule, with their places.

use super::{LONGEST, RuleFinding};

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub at: usize,
    pub length: usize,
    pub token: Token,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Letters, digits and what names, addresses and versions are made of.
    Bare(String),
    /// Between quotation marks.
    Quoted(String),
    /// `=` `!=` `<` `<=` `>` `>=`
    Sign(&'static str),
    Open,
    Close,
    Comma,
    /// After the last word.
    End,
}

/// Whether a bare word may have this character in it. A comma may stand inside one (`iMac14,2`), not at its end.
fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || "._-:/*?%+@".contains(c)
}

/// All words; the last one is [`Token::End`].
pub(super) fn words(text: &str) -> Result<Vec<Word>, RuleFinding> {
    let letters: Vec<char> = text.chars().take(LONGEST + 1).collect();
    if letters.len() > LONGEST {
        let message = format!("the rule is longer than {LONGEST} characters");
        return Err(RuleFinding { at: LONGEST, length: 1, message });
    }
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(&c) = letters.get(at) {
        let start = at;
        let token = match c {
            _ if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '#' => {
                at += letters[at..].iter().take_while(|c| **c != '\n').count();
                continue;
            }
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '\'' | '"' => {
                let Some(end) = letters[at + 1..].iter().position(|other| *other == c) else {
                    let message = "the text is not closed by a quotation mark".to_owned();
                    return Err(RuleFinding { at, length: letters.len() - at, message });
                };
                let inner = letters[at + 1..at + 1 + end].iter().collect();
                at += end + 1;
                Token::Quoted(inner)
            }
            '=' | '!' | '<' | '>' => {
                let two: String = letters[at..].iter().take(2).collect();
                let signs = [("==", "="), ("!=", "!="), ("<>", "!="), ("<=", "<="), (">=", ">=")];
                let one = [("=", "="), ("<", "<"), (">", ">")];
                let single = c.to_string();
                if let Some((_, sign)) = signs.iter().find(|(written, _)| *written == two) {
                    at += 1;
                    Token::Sign(sign)
                } else if let Some((_, sign)) = one.iter().find(|(written, _)| *written == single) {
                    Token::Sign(sign)
                } else {
                    let message = "`!` stands before `=` only: `!=`".to_owned();
                    return Err(RuleFinding { at, length: 1, message });
                }
            }
            _ if is_bare(c) => {
                let inside = |at: usize| {
                    letters.get(at).is_some_and(|c| {
                        is_bare(*c) || *c == ',' && letters.get(at + 1).is_some_and(|next| is_bare(*next))
                    })
                };
                while inside(at + 1) {
                    at += 1;
                }
                Token::Bare(letters[start..=at].iter().collect())
            }
            other => {
                let shown = if other.is_control() { ' ' } else { other };
                let message = format!("`{shown}` has no meaning here: put a text into quotation marks");
                return Err(RuleFinding { at, length: 1, message });
            }
        };
        at += 1;
        words.push(Word { at: start, length: at - start, token });
    }
    words.push(Word { at: letters.len(), length: 0, token: Token::End });
    Ok(words)
}
