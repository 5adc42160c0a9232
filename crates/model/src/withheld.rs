//! How often something was withheld, for a project's privacy report: by week, field, rule and side, and never a text.

use crate::event::Receipt;

/// Fields that a report tells apart; a property's name may be the site's own and is left out.
const FIELDS: [&str; 12] = [
    "element.label",
    "element.section",
    "group.name",
    "element",
    "properties",
    "name",
    "user",
    "page.title",
    "page.product",
    "page.breadcrumb",
    "page.type",
    "page.language",
];

/// Rules that a report tells apart.
const RULES: [&str; 20] = [
    "email",
    "handle",
    "digits",
    "card",
    "mixed_token",
    "secret",
    "ip",
    "mac",
    "coords",
    "crypto",
    "iban",
    "national_id",
    "labelled_number",
    "address",
    "person",
    "username",
    "private_choice",
    "waits",
    "varies",
    "private_place",
];

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Withheld {
    /// Weeks since Monday, 29 December 1969.
    pub week: i64,
    /// A field, without the name of a property; `other` where a tracker says one that is not known.
    pub field: &'static str,
    /// A rule, or `other`.
    pub rule: &'static str,
    /// Whether the browser withheld it, before it was sent.
    pub in_browser: bool,
}

impl Withheld {
    /// What a receipt counts as on a day (days since 1970).
    #[must_use]
    pub fn of(receipt: &Receipt, day: i64) -> Self {
        let field = |known: &&'static str| {
            receipt.field.strip_prefix(*known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        Self {
            week: week_of(day),
            field: FIELDS.iter().copied().find(field).unwrap_or("other"),
            rule: RULES.iter().copied().find(|known| *known == receipt.rule).unwrap_or("other"),
            in_browser: receipt.by == "browser",
        }
    }
}

/// The week of a day: both since the first of their kind, weeks from Monday on.
#[must_use]
pub const fn week_of(day: i64) -> i64 {
    (day + 3).div_euclid(7)
}

/// The Monday of a week, in days since 1970.
#[must_use]
pub const fn monday_of(week: i64) -> i64 {
    week * 7 - 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_monday_and_fields_are_bounded() {
        // 1970-01-01 was a Thursday, 2026-11-23 (day 20 780) a Monday.
        assert_eq!((week_of(-4), week_of(-3), week_of(0), week_of(4)), (-1, 0, 0, 1));
        assert_eq!((monday_of(week_of(20_780)), monday_of(week_of(20_786))), (20_780, 20_780));
        let of = |field: &str, rule: &str| {
            let receipt = Receipt { field: field.to_owned(), rule: rule.to_owned(), by: "server".to_owned(), rules: 2 };
            let found = Withheld::of(&receipt, 0);
            (found.field, found.rule)
        };
        assert_eq!(of("properties.Note", "email"), ("properties", "email"));
        assert_eq!(of("element.label", "waits"), ("element.label", "waits"));
        assert_eq!(of("page.product.Brand", "person"), ("page.product", "person"));
        assert_eq!(of("elements", "made up"), ("other", "other"));
    }
}
