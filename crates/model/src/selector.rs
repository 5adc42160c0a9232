//! Reads the CSS selectors that people set: one that a browser cannot read makes its tracker capture nothing, so it is refused;
//! what a descriptor can say of one is decided on the server (`pipeline/src/exclude.rs`).
//!
//! After Selectors Level 4 (<https://www.w3.org/TR/selectors-4/#grammar>), without namespaces, and with the pseudo-classes
//! that browsers have known for years only.

/// Depth of `:is(:not(…))` at most.
const DEPTH: usize = 8;

/// Pseudo-classes without arguments.
const PLAIN: &[&str] = &[
    "active",
    "any-link",
    "checked",
    "default",
    "defined",
    "disabled",
    "empty",
    "enabled",
    "first-child",
    "first-of-type",
    "focus",
    "focus-visible",
    "focus-within",
    "fullscreen",
    "hover",
    "in-range",
    "indeterminate",
    "invalid",
    "last-child",
    "last-of-type",
    "link",
    "only-child",
    "only-of-type",
    "optional",
    "out-of-range",
    "placeholder-shown",
    "read-only",
    "read-write",
    "required",
    "root",
    "scope",
    "target",
    "valid",
    "visited",
];

/// One selector of a list: what an element must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complex {
    /// The element itself.
    pub subject: Compound,
    /// Whether it also asks for what stands around the element.
    pub open: bool,
}

/// What one element must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compound {
    /// Its tag, in lower case.
    pub tag: Option<String>,
    /// Its id, classes and attributes.
    pub tests: Vec<Test>,
    /// Whether it also has pseudo-classes.
    pub open: bool,
}

/// What an attribute must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The attribute: `id` for `#a`, `class` for `.a`.
    pub name: String,
    /// `=`, `~` (a word), `|`, `^`, `$`, `*`; nothing where it only has to be there.
    pub operator: Option<char>,
    /// What it is compared with.
    pub value: String,
    /// Whether capitals count as small letters.
    pub fold: bool,
}

/// Reads a list of selectors.
///
/// # Errors
/// What is wrong, and after which text.
pub fn parse(selectors: &str) -> Result<Vec<Complex>, String> {
    let mut parser = Parser { text: selectors, at: 0, in_has: false };
    let list = parser.list(0, false)?;
    match parser.peek() {
        None => Ok(list),
        Some(c) => parser.fail(&format!("{c} is not expected")),
    }
}

/// Whether browsers can read this list of selectors.
///
/// # Errors
/// What is wrong, and after which text.
pub fn check(selectors: &str) -> Result<(), String> {
    parse(selectors).map(|_| ())
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Inside `:has()`, where no second one may be.
    in_has: bool,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn space(&mut self) -> bool {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            self.at += 1;
        }
        self.at > from
    }

    fn fail<T>(&self, problem: &str) -> Result<T, String> {
        let before = self.text.get(..self.at).unwrap_or_default();
        Err(if before.is_empty() { problem.to_owned() } else { format!("after {before} {problem}") })
    }

    fn require(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { self.fail(&format!("{wanted} is missing")) }
    }

    /// Selectors with commas between; `relative` ones may begin with a combinator, as in `:has(> a)`.
    fn list(&mut self, depth: usize, relative: bool) -> Result<Vec<Complex>, String> {
        if depth > DEPTH {
            return self.fail("there are too many selectors inside one another");
        }
        let mut list = Vec::new();
        loop {
            self.space();
            if relative && self.peek().is_some_and(|c| ">+~".contains(c)) {
                self.next();
                self.space();
            }
            list.push(self.complex(depth)?);
            if !self.take(',') {
                return Ok(list);
            }
        }
    }

    fn complex(&mut self, depth: usize) -> Result<Complex, String> {
        let mut out = Complex::default();
        loop {
            out.subject = self.compound(depth)?;
            let space = self.space();
            match self.peek() {
                Some('>' | '+' | '~') => {
                    out.open = true;
                    self.next();
                    self.space();
                }
                None | Some(',' | ')') => return Ok(out),
                Some(_) if space => out.open = true,
                Some(c) => return self.fail(&format!("{c} is not expected")),
            }
        }
    }

    fn compound(&mut self, depth: usize) -> Result<Compound, String> {
        let from = self.at;
        let mut out = Compound::default();
        if !self.take('*') && self.starts_name() {
            out.tag = Some(self.name()?.to_ascii_lowercase());
        }
        let test = |name: &str, operator, value| Test { name: name.to_owned(), operator, value, fold: false };
        loop {
            match self.peek() {
                Some('#') => {
                    self.next();
                    out.tests.push(test("id", Some('='), self.name()?));
                }
                Some('.') => {
                    self.next();
                    out.tests.push(test("class", Some('~'), self.name()?));
                }
                Some('[') => out.tests.push(self.attribute()?),
                Some(':') => {
                    out.open = true;
                    self.pseudo(depth)?;
                }
                _ if self.at == from => return self.fail("a selector is missing"),
                _ => return Ok(out),
            }
        }
    }

    fn starts_name(&self) -> bool {
        let rest = self.rest();
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        rest.starts_with(|c: char| c.is_ascii_alphabetic() || "_-\\".contains(c) || !c.is_ascii())
    }

    fn name(&mut self) -> Result<String, String> {
        if !self.starts_name() {
            let digit = self.rest().trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
            let hint = if digit { ": one that starts with a digit is written as in [id=\"1\"]" } else { "" };
            return self.fail(&format!("a name is missing{hint}"));
        }
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if c == '\\' {
                self.next();
                let Some(escaped) = self.next() else { return self.fail("a character is missing") };
                name.push(escaped);
            } else if c.is_ascii_alphanumeric() || "_-".contains(c) || !c.is_ascii() {
                self.next();
                name.push(c);
            } else {
                break;
            }
        }
        Ok(name)
    }

    fn attribute(&mut self) -> Result<Test, String> {
        self.require('[')?;
        self.space();
        let name = self.name()?.to_ascii_lowercase();
        self.space();
        if self.take(']') {
            return Ok(Test { name, operator: None, value: String::new(), fold: false });
        }
        let operator = self.peek().filter(|c| "~|^$*".contains(*c));
        if operator.is_some() {
            self.next();
        }
        self.require('=')?;
        self.space();
        let value = match self.peek() {
            Some(quote @ ('"' | '\'')) => self.string(quote)?,
            _ => self.name()?,
        };
        self.space();
        // `s` is not known to Chromium.
        let fold = self.peek().is_some_and(|c| "iI".contains(c));
        if fold {
            self.next();
            self.space();
        }
        self.require(']')?;
        Ok(Test { name, operator: operator.or(Some('=')), value, fold })
    }

    fn string(&mut self, quote: char) -> Result<String, String> {
        self.require(quote)?;
        let mut out = String::new();
        loop {
            match self.next() {
                None => return self.fail(&format!("{quote} is missing")),
                Some('\\') => out.extend(self.next()),
                Some(c) if c == quote => return Ok(out),
                Some(c) => out.push(c),
            }
        }
    }

    fn pseudo(&mut self, depth: usize) -> Result<(), String> {
        self.require(':')?;
        if self.peek() == Some(':') {
            return self.fail("no element is named: a pseudo-element cannot be clicked");
        }
        let name = self.name()?.to_ascii_lowercase();
        if !self.take('(') {
            return if PLAIN.contains(&name.as_str()) {
                Ok(())
            } else {
                self.fail("a pseudo-class is named that not every browser knows")
            };
        }
        match name.as_str() {
            "is" | "where" | "not" => {
                self.list(depth + 1, false)?;
            }
            "has" if self.in_has => return self.fail(":has() cannot stand inside another one"),
            "has" => {
                self.in_has = true;
                self.list(depth + 1, true)?;
                self.in_has = false;
            }
            "nth-child" | "nth-last-child" | "nth-of-type" | "nth-last-of-type" => self.nth()?,
            "lang" | "dir" => {
                self.space();
                self.name()?;
                self.space();
            }
            _ => return self.fail("a pseudo-class is named that not every browser knows"),
        }
        self.require(')')
    }

    /// `even`, `odd`, `3`, `2n+1`.
    fn nth(&mut self) -> Result<(), String> {
        self.space();
        let end = self.rest().find(')').unwrap_or(self.rest().len());
        let given = self.rest().get(..end).unwrap_or_default().trim().to_ascii_lowercase();
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let signed = |text: &str| digits(text.strip_prefix(['+', '-']).unwrap_or(text));
        let fits = match given.split_once('n') {
            _ if given == "even" || given == "odd" => true,
            None => signed(&given),
            Some((step, offset)) => {
                // Blanks may stand around the sign in the middle, and nowhere else.
                let after_sign = offset.trim_start().strip_prefix(['+', '-']);
                (step.is_empty() || step == "+" || step == "-" || signed(step))
                    && (offset.is_empty() || after_sign.is_some_and(|number| digits(number.trim_start())))
            }
        };
        if !fits {
            return self.fail("a number such as 2, odd or 2n+1 is missing");
        }
        self.at += end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The browser tests ask Chromium the same of these two files.
    #[test]
    fn what_browsers_can_read_passes_and_what_they_cannot_does_not() {
        let lines = |text: &'static str| text.lines().filter(|line| !line.is_empty());
        for selector in lines(include_str!("../tests/selectors/valid.txt")) {
            assert_eq!(check(selector), Ok(()), "{selector}");
        }
        for selector in lines(include_str!("../tests/selectors/invalid.txt")) {
            assert!(check(selector).is_err(), "{selector}");
        }
        assert!(check("").is_err());
        // A browser closes it at the end; joined with others it would swallow them.
        assert!(check("[data-x=\"y]").is_err());
    }

    #[test]
    fn an_error_says_where() {
        assert_eq!(check("div[data-x").unwrap_err(), "after div[data-x = is missing");
        assert_eq!(check(".a, ").unwrap_err(), "after .a,  a selector is missing");
        assert_eq!(
            check("a:clicked").unwrap_err(),
            "after a:clicked a pseudo-class is named that not every browser knows"
        );
    }

    #[test]
    fn what_nests_without_end_is_refused() {
        assert!(check(&":not(".repeat(400)).is_err());
    }
}
