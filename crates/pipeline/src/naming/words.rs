//! Words: what is an action, what is readable, singular and sentence case. Lists are data; a change of them is a change of names.

/// First words that make a label an action, by language: the label is then the name.
const ACTIONS: &[&str] = &[
    // English
    "accept",
    "activate",
    "add",
    "agree",
    "allow",
    "apply",
    "approve",
    "ask",
    "back",
    "book",
    "browse",
    "buy",
    "call",
    "cancel",
    "change",
    "chat",
    "check",
    "choose",
    "claim",
    "clear",
    "close",
    "compare",
    "complete",
    "confirm",
    "contact",
    "continue",
    "copy",
    "create",
    "customize",
    "decline",
    "delete",
    "deny",
    "discover",
    "dismiss",
    "donate",
    "download",
    "edit",
    "enable",
    "exit",
    "expand",
    "explore",
    "export",
    "filter",
    "find",
    "finish",
    "follow",
    "forgot",
    "get",
    "give",
    "go",
    "hide",
    "import",
    "install",
    "invite",
    "join",
    "launch",
    "learn",
    "leave",
    "like",
    "load",
    "log",
    "login",
    "logout",
    "make",
    "manage",
    "mute",
    "next",
    "open",
    "order",
    "pause",
    "pay",
    "pick",
    "place",
    "play",
    "post",
    "preview",
    "previous",
    "print",
    "proceed",
    "publish",
    "quit",
    "rate",
    "read",
    "reject",
    "remove",
    "rename",
    "rent",
    "reply",
    "report",
    "request",
    "reserve",
    "reset",
    "restart",
    "retry",
    "save",
    "schedule",
    "search",
    "see",
    "select",
    "send",
    "set",
    "share",
    "shop",
    "show",
    "sign",
    "signup",
    "skip",
    "sort",
    "start",
    "stop",
    "submit",
    "subscribe",
    "switch",
    "tell",
    "toggle",
    "track",
    "try",
    "turn",
    "undo",
    "unfollow",
    "unsubscribe",
    "update",
    "upgrade",
    "upload",
    "use",
    "verify",
    "view",
    "visit",
    "vote",
    "watch",
    "write",
    "zoom",
    // German: the verb stands last or first
    "abbrechen",
    "abmelden",
    "abonnieren",
    "absenden",
    "ablehnen",
    "akzeptieren",
    "ändern",
    "anmelden",
    "anzeigen",
    "auswählen",
    "bearbeiten",
    "bestätigen",
    "bestellen",
    "buchen",
    "einloggen",
    "entfernen",
    "erstellen",
    "fortfahren",
    "herunterladen",
    "hinzufügen",
    "kaufen",
    "löschen",
    "öffnen",
    "registrieren",
    "schließen",
    "senden",
    "speichern",
    "suchen",
    "teilen",
    "weiter",
    "weiterlesen",
    "zurück",
    // French
    "accepter",
    "acheter",
    "afficher",
    "ajouter",
    "annuler",
    "appliquer",
    "choisir",
    "commander",
    "continuer",
    "créer",
    "découvrir",
    "enregistrer",
    "envoyer",
    "fermer",
    "modifier",
    "ouvrir",
    "partager",
    "payer",
    "rechercher",
    "refuser",
    "réserver",
    "supprimer",
    "télécharger",
    "valider",
    "voir",
    // Spanish, Italian, Portuguese
    "aceptar",
    "añadir",
    "agregar",
    "buscar",
    "cancelar",
    "cerrar",
    "comprar",
    "continuar",
    "crear",
    "descargar",
    "eliminar",
    "enviar",
    "guardar",
    "pagar",
    "reservar",
    "suscribirse",
    "ver",
    "accetta",
    "acquista",
    "aggiungi",
    "annulla",
    "cerca",
    "chiudi",
    "conferma",
    "continua",
    "iscriviti",
    "scopri",
    "salva",
    "aceitar",
    "adicionar",
    "baixar",
    "fechar",
    "salvar",
    // Dutch, Polish, Swedish
    "bestellen",
    "bevestigen",
    "kopen",
    "opslaan",
    "sluiten",
    "toevoegen",
    "verder",
    "verwijderen",
    "zoeken",
    "anuluj",
    "dodaj",
    "kup",
    "szukaj",
    "wyślij",
    "zamknij",
    "zapisz",
    "avbryt",
    "köp",
    "lägg",
    "skicka",
    "spara",
    "stäng",
    "sök",
];

/// Whether a label says what happens: its first or, in languages that put the verb last, its last word is an action.
pub(crate) fn is_action(label: &str) -> bool {
    let mut words = label.split([' ', '\u{a0}', '-', '&', '/', ',']).filter(|word| !word.is_empty());
    let is = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        ACTIONS.contains(&word.as_str())
    };
    let Some(first) = words.next() else { return false };
    if is(first) {
        return true;
    }
    // Only the words that stand last in their language: "Size chart view" is no action, "In den Warenkorb legen" is one.
    words.next_back().is_some_and(|last| {
        let last = last.to_lowercase();
        last.ends_with("en") && is(&last) || last == "legen"
    })
}

/// Words that lead to the next or the previous page or slide, as whole labels begin or end with them.
const NEXT: &[&str] = &[
    "next",
    "newer",
    "forward",
    "suivant",
    "suivante",
    "siguiente",
    "próximo",
    "próxima",
    "proximo",
    "proxima",
    "seguinte",
    "weiter",
    "nächste",
    "nächster",
    "volgende",
    "verder",
    "successivo",
    "successiva",
    "avanti",
    "dalej",
    "następna",
    "następny",
    "następne",
    "след",
    "следующая",
    "следующий",
    "вперед",
    "вперёд",
    "далее",
    "дальше",
    "наступна",
    "další",
    "následující",
    "nästa",
    "næste",
    "neste",
    "seuraava",
    "sonraki",
    "ileri",
    "επόμενη",
    "επόμενο",
    "következő",
    "următor",
    "următoarea",
    "التالي",
    "הבא",
    "次",
    "次へ",
    "次のページ",
    "下一页",
    "下一頁",
    "下页",
    "다음",
];
const PREVIOUS: &[&str] = &[
    "previous",
    "prev",
    "older",
    "back",
    "précédent",
    "précédente",
    "precedent",
    "anterior",
    "zurück",
    "vorherige",
    "vorheriger",
    "vorige",
    "precedente",
    "indietro",
    "poprzednia",
    "poprzedni",
    "poprzednie",
    "wstecz",
    "пред",
    "предыдущая",
    "предыдущий",
    "назад",
    "попередня",
    "předchozí",
    "föregående",
    "forrige",
    "edellinen",
    "önceki",
    "geri",
    "προηγούμενη",
    "προηγούμενο",
    "előző",
    "anteriorul",
    "السابق",
    "הקודם",
    "前",
    "前へ",
    "前のページ",
    "上一页",
    "上一頁",
    "上页",
    "이전",
];

/// What one is led to.
const PAGES: &[&str] = &[
    "page",
    "pages",
    "slide",
    "image",
    "posts",
    "entries",
    "results",
    "seite",
    "página",
    "pagina",
    "strona",
    "страница",
    "сторінка",
    "sayfa",
    "sida",
    "side",
    "sivu",
    "oldal",
];

/// Whether a control leads on or back, by its words or by an arrow: such a control is no item of the list that it pages.
/// The name of one that says no word: "Next page", "Previous page".
pub(crate) fn direction(descriptor: &convizit_model::Descriptor) -> Option<&'static str> {
    let label = descriptor.label.trim();
    let arrow = |signs: &str| !label.is_empty() && label.chars().all(|c| signs.contains(c) || c.is_whitespace());
    if arrow("›»>→▶►❯⟩") {
        return Some("Next page");
    }
    if arrow("‹«<←◀◄❮⟨") {
        return Some("Previous page");
    }
    let mut words: Vec<String> =
        label.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    let nameless = label.is_empty() || descriptor.label_source == "fallback";
    if nameless {
        // Only its author's words are left.
        words = ["class", "rel", "id", "name"]
            .iter()
            .filter_map(|key| descriptor.attributes.get(*key).and_then(serde_json::Value::as_str))
            .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect::<Vec<_>>())
            .collect();
    }
    let says = |list: &[&str]| {
        let mut ends = words.first().into_iter().chain(words.last());
        let of_pages = words.iter().any(|word| PAGES.contains(&word.as_str()));
        let few = words.len() <= if of_pages { 4 } else { 2 } && ends.any(|word| list.contains(&word.as_str()));
        few || (nameless && words.iter().any(|word| list.contains(&word.as_str())))
    };
    match (says(NEXT), says(PREVIOUS)) {
        (true, false) => Some("Next page"),
        (false, true) => Some("Previous page"),
        _ => None,
    }
}

/// A text without numbers, prices and brackets left empty by them.
pub(crate) fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let has_digit = word.chars().any(|c| c.is_numeric());
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '?' && c != '!');
        let only_sign = bare.is_empty() && !word.chars().any(|c| matches!(c, '&' | '+' | '/' | '–' | '—' | '-' | '|'));
        if has_digit || only_sign || (bare.is_empty() && out.is_empty()) {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word.trim_matches(|c: char| {
            matches!(
                c,
                '(' | ')' | '[' | ']' | '{' | '}' | '"' | '“' | '”' | '»' | '«' | '›' | '‹' | '…' | ':' | ',' | ';'
            )
        }));
    }
    out.trim_matches(|c: char| matches!(c, '&' | '+' | '/' | '–' | '—' | '-' | '|' | '·' | '•' | ' ' | '.')).to_owned()
}

/// Words of an identifier: `Product_card__x9f` → `Product card`; empty when nothing readable is left.
pub(crate) fn readable(identifier: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut last_lower = false;
    for c in identifier.chars() {
        let split = !c.is_alphanumeric() || (c.is_uppercase() && last_lower);
        if split && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        last_lower = c.is_lowercase();
    }
    words.push(word);
    words.retain(|word| {
        !word.is_empty() && !word.chars().any(char::is_numeric) && (word.len() > 1 || words_are_single(identifier))
    });
    sentence(&words.join(" "))
}

fn words_are_single(identifier: &str) -> bool {
    identifier.len() <= 2
}

/// First letter upper, the rest as it is, unless all of it shouts.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let shouting = letters > 3
        && text.contains(' ')
        && !text.chars().any(char::is_lowercase)
        && text.chars().any(char::is_uppercase);
    let lowered = if shouting { text.to_lowercase() } else { text.to_owned() };
    let mut chars = lowered.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// An English plural in the singular, word for word at its end: "Recommended products" → "Recommended product".
pub(crate) fn singular(text: &str) -> String {
    let low = text.to_lowercase();
    let cut = |count: usize, end: &str| {
        let kept: Vec<char> = text.chars().collect();
        let kept: String = kept.iter().take(kept.len().saturating_sub(count)).collect();
        kept + end
    };
    if low.len() < 4 || low.ends_with("ss") || low.ends_with("us") || low.ends_with("is") || low.ends_with("news") {
        text.to_owned()
    } else if low.ends_with("ies") {
        cut(3, "y")
    } else if low.ends_with("sses") || low.ends_with("xes") || low.ends_with("ches") || low.ends_with("shes") {
        cut(2, "")
    } else if low.ends_with('s') {
        cut(1, "")
    } else {
        text.to_owned()
    }
}

/// At most so many characters, cut at a word where there is one.
pub(crate) fn shorten(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let cut: String = text.chars().take(chars).collect();
    match cut.rfind(' ') {
        Some(at) if at > chars / 3 => cut.get(..at).unwrap_or(&cut).to_owned(),
        _ => cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_told_from_things() {
        for action in
            ["Add to cart", "Sign up", "Log in", "LEARN MORE", "Jetzt kaufen", "Ajouter au panier", "Go to checkout"]
        {
            assert!(is_action(action), "{action}");
        }
        for thing in ["Size chart", "Country", "Cart", "Product card", "Shoes", "", "Newsletter"] {
            assert!(!is_action(thing), "{thing}");
        }
    }

    #[test]
    fn numbers_leave_a_text() {
        for (text, expected) in [
            ("Cart (3)", "Cart"),
            ("See all 24 reviews", "See all reviews"),
            ("€ 89.90 Buy", "Buy"),
            ("Terms & conditions", "Terms & conditions"),
            ("17", ""),
            ("Next »", "Next"),
        ] {
            assert_eq!(without_numbers(text), expected, "{text}");
        }
    }

    #[test]
    fn identifiers_read_as_words() {
        assert_eq!(readable("product-card"), "Product card");
        assert_eq!(readable("ProductCard"), "Product card");
        assert_eq!(readable("Card_title__x9f"), "Card title");
        assert_eq!(readable("li"), "Li");
        assert_eq!(singular("Recommended products"), "Recommended product");
        assert_eq!(singular("Categories"), "Category");
        assert_eq!(singular("Boxes"), "Box");
        assert_eq!(sentence("SHOP NOW"), "Shop now");
        assert_eq!(shorten("one two three", 9), "one two");
    }
}
