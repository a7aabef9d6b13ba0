//! Words become a rule: form first, then whether facts, operators and values go together.

use std::net::IpAddr;

use super::lex::{Token, Word};
use super::{Asked, Comparison, DEEPEST, Expr, MOST_PATTERNS, MOST_TESTS, Operand, RuleFinding, Sign};
use crate::sequence::condition::compare;
use crate::sequence::name::VariableName;
use crate::sequence::target::fact::{Fact, Kind};
use crate::value::{ByteSize, MacAddr};

/// Letters of a message at most.
const LONGEST_MESSAGE: usize = 300;
/// Prefix of the Mac's own variables.
const VARIABLE: &str = "variable.";

/// The form is wrong: there is no sense in reading on.
struct Broken;

/// Reads a whole rule.
pub(super) fn parse(words: &[Word]) -> Result<Expr, Vec<RuleFinding>> {
    let mut reader = Reader { words, at: 0, tests: 0, patterns: 0, findings: Vec::new() };
    let read = reader.rule();
    match (read, reader.findings.is_empty()) {
        (Ok(root), true) => Ok(root),
        _ => Err(reader.findings),
    }
}

struct Reader<'a> {
    words: &'a [Word],
    at: usize,
    tests: usize,
    patterns: usize,
    findings: Vec<RuleFinding>,
}

impl Reader<'_> {
    fn word(&self) -> &Word {
        // The lexer ends every text with `End`, and nobody steps over it.
        &self.words[self.at.min(self.words.len() - 1)]
    }

    fn step(&mut self) -> Word {
        let word = self.word().clone();
        self.at = (self.at + 1).min(self.words.len() - 1);
        word
    }

    fn is(&self, keyword: &str) -> bool {
        matches!(&self.word().token, Token::Bare(text) if text.eq_ignore_ascii_case(keyword))
    }

    fn take(&mut self, keyword: &str) -> bool {
        let found = self.is(keyword);
        if found {
            self.step();
        }
        found
    }

    fn note(&mut self, word: &Word, message: impl Into<String>) {
        self.findings.push(RuleFinding { at: word.at, length: word.length, message: fit(&message.into()) });
    }

    fn broken(&mut self, message: impl Into<String>) -> Broken {
        let word = self.word().clone();
        self.note(&word, message);
        Broken
    }

    fn rule(&mut self) -> Result<Expr, Broken> {
        if self.word().token == Token::End {
            return Err(self.broken("a rule asks something of a Mac: model like \"iMac*\""));
        }
        let root = self.any(0)?;
        match self.word().token {
            Token::End => Ok(root),
            Token::Close => Err(self.broken("this `)` closes nothing")),
            _ => Err(self.broken(
                "`and` or `or` is needed before this; a text with spaces in it stands in quotation marks",
            )),
        }
    }

    fn any(&mut self, depth: usize) -> Result<Expr, Broken> {
        let mut any = vec![self.all(depth)?];
        while self.take("or") {
            any.push(self.all(depth)?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Expr::Any(any) })
    }

    fn all(&mut self, depth: usize) -> Result<Expr, Broken> {
        let mut all = vec![self.one(depth)?];
        while self.take("and") {
            all.push(self.one(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::All(all) })
    }

    fn one(&mut self, depth: usize) -> Result<Expr, Broken> {
        if depth >= DEEPEST {
            return Err(self.broken(format!("more than {DEEPEST} parentheses stand in each other")));
        }
        if self.take("not") {
            return Ok(Expr::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.word().token == Token::Open {
            self.step();
            let inner = self.any(depth + 1)?;
            if self.word().token != Token::Close {
                return Err(self.broken("a `)` is needed here"));
            }
            self.step();
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expr, Broken> {
        self.tests += 1;
        if self.tests > MOST_TESTS {
            return Err(self.broken(format!("the rule has more than {MOST_TESTS} comparisons")));
        }
        let name = self.word().clone();
        let Token::Bare(text) = &name.token else {
            return Err(self.broken("the name of a fact is needed here: rootstock collection facts"));
        };
        if ["and", "or", "in", "like", "matches", "between", "exists"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
        {
            return Err(self.broken("the name of a fact is needed here: rootstock collection facts"));
        }
        self.step();
        let (asked, kind) = self.asked(&name, text);
        let (negated, test) = self.comparison(&name, kind)?;
        // What is wrong was noted; a rule with findings is never evaluated.
        let asked = asked.unwrap_or(Asked::Fact(Fact::Known));
        let test = Expr::Test(asked, test.unwrap_or(Comparison::Exists));
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }

    fn asked(&mut self, name: &Word, text: &str) -> (Option<Asked>, Option<Kind>) {
        let head = text.get(..VARIABLE.len()).filter(|head| head.eq_ignore_ascii_case(VARIABLE));
        if head.is_some() {
            return match text[VARIABLE.len()..].parse::<VariableName>() {
                Ok(variable) => (Some(Asked::Variable(variable)), Some(Kind::Text)),
                Err(error) => {
                    self.note(name, error.to_string());
                    (None, Some(Kind::Text))
                }
            };
        }
        if let Some(fact) = Fact::named(text) {
            return (Some(Asked::Fact(fact)), Some(fact.kind()));
        }
        let near = Fact::ALL.iter().map(|fact| fact.name()).min_by_key(|known| distance(known, text));
        let near =
            near.filter(|known| distance(known, text) <= 2).map(|known| format!(", is `{known}` meant?"));
        let near = near.unwrap_or_else(|| ": rootstock collection facts lists them".to_owned());
        self.note(name, format!("there is no fact `{}`{near}", shortened(text)));
        (None, None)
    }

    /// Whether it is negated, and the comparison; none when something was noted.
    fn comparison(&mut self, name: &Word, kind: Option<Kind>) -> Result<(bool, Option<Comparison>), Broken> {
        let operator = self.word().clone();
        if let Token::Sign(sign) = operator.token {
            self.step();
            let (word, text) = self.value(kind)?;
            let operand = self.operand(&word, &text, kind);
            let (sign, negated) = match sign {
                "!=" => (Sign::Equal, true),
                "<" => (Sign::Less, false),
                "<=" => (Sign::LessOrEqual, false),
                ">" => (Sign::Greater, false),
                ">=" => (Sign::GreaterOrEqual, false),
                _ => (Sign::Equal, false),
            };
            if sign != Sign::Equal && matches!(kind, Some(Kind::Flag | Kind::Mac | Kind::Word(_))) {
                self.note(&operator, "this fact has no order: use `=`, `!=` or `in`");
            }
            return Ok((negated, operand.map(|operand| Comparison::Order(sign, operand))));
        }
        let negated = self.is("not")
            && {
                let next = self.words.get(self.at + 1).map(|word| &word.token);
                let after = ["like", "matches", "in", "between", "exists"];
                matches!(next, Some(Token::Bare(text)) if after.iter().any(|word| text.eq_ignore_ascii_case(word)))
            };
        if negated {
            self.step();
        }
        let operator = self.word().clone();
        if self.take("exists") {
            return Ok((negated, Some(Comparison::Exists)));
        }
        if self.take("like") {
            let (_, text) = self.value(None)?;
            self.texts_only(&operator, kind);
            return Ok((negated, Some(Comparison::Like(text))));
        }
        if self.take("matches") {
            self.patterns += 1;
            if self.patterns > MOST_PATTERNS {
                return Err(
                    self.broken(format!("the rule has more than {MOST_PATTERNS} regular expressions"))
                );
            }
            let (word, text) = self.value(None)?;
            self.texts_only(&operator, kind);
            let pattern = compare::pattern(&text).map_err(|error| self.note(&word, error.to_string()));
            return Ok((negated, pattern.ok().map(|pattern| Comparison::Matches(Box::new(pattern)))));
        }
        if self.take("between") {
            let (first, from) = self.value(kind)?;
            if !self.take("and") {
                return Err(self.broken("`and` is needed here: between A and B"));
            }
            let (last, to) = self.value(kind)?;
            if matches!(kind, Some(Kind::Flag | Kind::Mac | Kind::Word(_))) {
                self.note(&operator, "this fact has no order: use `=`, `!=` or `in`");
            }
            let (from, to) = (self.operand(&first, &from, kind), self.operand(&last, &to, kind));
            return Ok((negated, from.zip(to).map(|(from, to)| Comparison::Between(from, to))));
        }
        if self.take("in") {
            return Ok((negated, self.set(kind)?));
        }
        if matches!(kind, Some(Kind::Flag)) {
            return Ok((false, Some(Comparison::Order(Sign::Equal, Operand::Flag(true)))));
        }
        let _ = name;
        Err(self.broken("a comparison is needed here: `=`, `!=`, `<`, `<=`, `>`, `>=`, like, matches, in, between or exists"))
    }

    /// `(A, B)`, or of addresses a network.
    fn set(&mut self, kind: Option<Kind>) -> Result<Option<Comparison>, Broken> {
        if self.word().token != Token::Open {
            let (word, text) = self.value(kind)?;
            if kind != Some(Kind::Ip) {
                self.note(&word, "a list stands in parentheses: in (A, B)");
                return Ok(None);
            }
            let network = network(&text);
            if network.is_none() {
                self.note(&word, "this is no network: 10.1.0.0/16 or fd00::/8");
            }
            return Ok(network.map(|(address, prefix)| Comparison::Within(address, prefix)));
        }
        self.step();
        let mut operands = Vec::new();
        loop {
            let (word, text) = self.value(kind)?;
            operands.push(self.operand(&word, &text, kind));
            match self.word().token {
                Token::Comma => self.step(),
                Token::Close => break,
                _ => return Err(self.broken("`,` or `)` is needed here")),
            };
        }
        self.step();
        Ok(operands.into_iter().collect::<Option<Vec<_>>>().map(Comparison::OneOf))
    }

    /// A value; of a size or number with the unit that stands behind it.
    fn value(&mut self, kind: Option<Kind>) -> Result<(Word, String), Broken> {
        let mut word = self.word().clone();
        let mut text = match &word.token {
            Token::Bare(text) | Token::Quoted(text) => text.clone(),
            _ => return Err(self.broken("a value is needed here")),
        };
        self.step();
        let counts =
            matches!(kind, Some(Kind::Size | Kind::Number)) && text.bytes().all(|b| b.is_ascii_digit());
        if let (true, Token::Bare(unit)) = (counts, &self.word().token)
            && format!("1{unit}").parse::<ByteSize>().is_ok()
            && !unit.starts_with(|c: char| c.is_ascii_digit())
        {
            text.push_str(unit);
            word.length = self.word().at + self.word().length - word.at;
            self.step();
        }
        Ok((word, text))
    }

    fn operand(&mut self, word: &Word, text: &str, kind: Option<Kind>) -> Option<Operand> {
        let operand = match kind? {
            Kind::Text => return Some(Operand::Text(text.to_owned())),
            Kind::Size => {
                text.parse().ok().map(|ByteSize(bytes)| Operand::Number(bytes)).ok_or("a size: 8 GiB, 500 GB")
            }
            Kind::Number => text.parse().ok().map(Operand::Number).ok_or("a whole number"),
            Kind::Flag => flag(text).map(Operand::Flag).ok_or("yes or no"),
            Kind::Mac => {
                let address = text.parse::<MacAddr>().ok().map(|mac| Operand::Text(mac.to_string()));
                address.ok_or("a hardware address: 0a:1b:2c:3d:4e:5f; for a part of one, like \"0a:1b:2c:*\"")
            }
            Kind::Ip => {
                text.parse().ok().map(Operand::Ip).ok_or("an IP address; a network is asked for with `in`")
            }
            Kind::Word(words) => {
                if words.iter().any(|known| known.eq_ignore_ascii_case(text)) {
                    return Some(Operand::Text(text.to_owned()));
                }
                let message = format!("`{}` is none of {}", shortened(text), words.join(", "));
                self.note(word, message);
                return None;
            }
        };
        operand.map_err(|wanted| self.note(word, format!("`{}` is not {wanted}", shortened(text)))).ok()
    }

    fn texts_only(&mut self, operator: &Word, kind: Option<Kind>) {
        if matches!(kind, Some(Kind::Size | Kind::Number | Kind::Flag | Kind::Ip)) {
            self.note(operator, "only texts can be compared so; use `=`, `<`, `in` or between");
        }
    }
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

/// For one line of a terminal or a log: what a rule is made of may stand in it.
fn fit(message: &str) -> String {
    let shown = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    message.chars().take(LONGEST_MESSAGE).map(shown).collect()
}

fn shortened(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How many letters have to be put in, taken out or changed (Levenshtein), for `is … meant?`.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, c) in one.chars().enumerate() {
        let mut before = index;
        row[0] = index + 1;
        for (place, d) in other.iter().enumerate() {
            let change = before + usize::from(c != *d);
            before = row[place + 1];
            row[place + 1] = change.min(before + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}
