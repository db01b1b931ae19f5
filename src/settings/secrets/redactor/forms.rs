//! The encodings in which a secret may appear, and how they are searched for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use memchr::memmem::Finder;

use crate::util::terminal;

/// A secret shorter than this is searched for only verbatim and as a whole word. It resembles too many words, and
/// masks within words would reveal it.
const SHORTEST: usize = 6;
/// Shortest base64 text that is searched for, in characters.
const SHORTEST_PIECE: usize = 8;
/// Maximum number of bytes for one byte of a secret: JSON writes a quote as `\u0027`, a shell as `'"'"'`.
const WIDEST: usize = 6;
/// Length of the longest escape sequence in bytes.
const LONGEST_ESCAPE: usize = 6;

/// Whether a part of a text is a whole word.
fn is_word(text: &[u8], part: &Range<usize>) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    let before = part.start.checked_sub(1).and_then(|at| text.get(at));
    !before.is_some_and(is_letter) && !text.get(part.end).is_some_and(is_letter)
}

/// Characters that shells and JSON add for quoting.
fn is_quote(byte: u8) -> bool {
    matches!(byte, b'\'' | b'"' | b'\\')
}

/// How a text is decoded before the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Unchanged.
    Plain,
    /// Without the quotes and backslashes of shells and JSON, and with numeric escapes decoded.
    Unquoted,
    /// With percent-encoding decoded.
    Decoded,
}

impl View {
    /// All views.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Unquoted, Self::Decoded];
}

/// Texts to search for, each with its searcher, which takes longer to build than to search one line.
#[derive(Debug, Default)]
struct Needles(BTreeMap<Vec<u8>, Finder<'static>>);

impl Needles {
    /// Adds a text. Returns whether it is new.
    fn insert(&mut self, needle: Vec<u8>) -> bool {
        let finder = Finder::new(&needle).into_owned();
        self.0.insert(needle, finder).is_none()
    }
}

/// Texts to search for in each view.
#[derive(Debug, Default)]
pub struct Forms {
    plain: Needles,
    unquoted: Needles,
    decoded: Needles,
    longest: usize,
}

impl Forms {
    /// Adds a secret of one line.
    pub fn add(&mut self, secret: &str) {
        if secret.is_empty() || !self.plain.insert(secret.into()) {
            return;
        }
        self.longest = self.longest.max(secret.len().saturating_mul(WIDEST));
        // As written by our own log.
        self.plain.insert(terminal::printable(secret).as_bytes().into());
        if secret.len() < SHORTEST {
            return;
        }
        for piece in in_base64(secret.as_bytes()) {
            self.plain.insert(piece);
        }
        let unquoted: Vec<u8> = secret.bytes().filter(|byte| !is_quote(*byte)).collect();
        if unquoted.len() >= SHORTEST {
            self.unquoted.insert(unquoted);
        }
        self.decoded.insert(secret.into());
        // HTML forms encode a space as `+`.
        self.decoded.insert(secret.replace(' ', "+").into());
    }

    /// Maximum length of a secret in any encoding, in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The positions of secrets in a text.
    pub fn find(&self, view: View, text: &[u8]) -> Vec<Range<usize>> {
        let Some((seen, places)) = look(view, text) else { return Vec::new() };
        let mut found = Vec::new();
        for (form, finder) in &self.of(view).0 {
            let ranges = finder.find_iter(&seen).map(|start| start..start + form.len());
            let is_short = form.len() < SHORTEST;
            found.extend(ranges.filter(|range| !is_short || is_word(&seen, range)));
        }
        found.iter().map(|range| places.original(range)).collect()
    }

    /// The start of a secret that is cut off at the end of a text.
    pub fn begun(&self, view: View, text: &[u8]) -> Option<usize> {
        let (seen, places) = look(view, text)?;
        let length = |form: &Vec<u8>| {
            let most = seen.len().min(form.len() - 1);
            (1..=most).rev().find(|length| seen.ends_with(&form[..*length]))
        };
        let longest = self.of(view).0.keys().filter_map(length).max()?;
        Some(places.original(&(seen.len() - longest..seen.len())).start)
    }

    fn of(&self, view: View) -> &Needles {
        match view {
            View::Plain => &self.plain,
            View::Unquoted => &self.unquoted,
            View::Decoded => &self.decoded,
        }
    }
}

/// For each decoded byte its position in the original text; `None` if the text is unchanged.
struct Places(Option<Vec<Range<usize>>>);

impl Places {
    /// The original position of a non-empty decoded range.
    fn original(&self, seen: &Range<usize>) -> Range<usize> {
        match &self.0 {
            Some(places) => places[seen.start].start..places[seen.end - 1].end,
            None => seen.clone(),
        }
    }
}

/// A text decoded for this view; `None` if that changes nothing.
fn look(view: View, text: &[u8]) -> Option<(Cow<'_, [u8]>, Places)> {
    let differs = match view {
        View::Plain => return Some((text.into(), Places(None))),
        View::Unquoted => text.iter().any(|byte| is_quote(*byte)),
        View::Decoded => text.contains(&b'%') || text.contains(&b'+'),
    };
    if !differs {
        return None;
    }
    let (mut seen, mut places, mut at) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        let before = seen.len();
        let width = match (view, text[at]) {
            (View::Unquoted, b'\\') => unescape(&text[at + 1..], &mut seen),
            (View::Unquoted, byte) if is_quote(byte) => 1,
            (View::Decoded, b'%') => match number(&text[at + 1..], 2, 16) {
                Some(byte) => {
                    seen.extend(u8::try_from(byte));
                    3
                }
                None => {
                    seen.push(b'%');
                    1
                }
            },
            (_, byte) => {
                seen.push(byte);
                1
            }
        };
        places.extend((before..seen.len()).map(|_| at..at + width));
        at += width;
    }
    Some((seen.into(), Places(Some(places))))
}

/// Decodes the escape sequence of a backslash before `behind`: an octal byte as in a shell's `$'…'`, or a hexadecimal
/// character as in JSON. Otherwise adds nothing. Returns the length of the sequence.
fn unescape(behind: &[u8], seen: &mut Vec<u8>) -> usize {
    if let Some(byte) = number(behind, 3, 8).and_then(|byte| u8::try_from(byte).ok()) {
        seen.extend(Some(byte).filter(|byte| !is_quote(*byte)));
        return 4;
    }
    let in_json = behind.strip_prefix(b"u").and_then(|digits| number(digits, 4, 16)).and_then(char::from_u32);
    if let Some(character) = in_json {
        seen.extend(character.encode_utf8(&mut [0; 4]).bytes().filter(|byte| !is_quote(*byte)));
        return 6;
    }
    // An escaped backslash or quote does not escape what follows.
    if behind.first().is_some_and(|byte| is_quote(*byte)) { 2 } else { 1 }
}

/// The number with exactly `count` digits.
fn number(digits: &[u8], count: usize, radix: u32) -> Option<u32> {
    let digits = digits.get(..count)?;
    digits.iter().try_fold(0, |number, digit| Some(number * radix + char::from(*digit).to_digit(radix)?))
}

/// The text without an incomplete escape sequence at its end.
pub fn without_torn_escape(text: &[u8]) -> &[u8] {
    let tail = text.len().saturating_sub(LONGEST_ESCAPE - 1);
    let is_torn = |at: &usize| match &text[*at..] {
        [b'%', digits @ ..] => digits.len() < 2 && digits.iter().all(u8::is_ascii_hexdigit),
        [b'\\', b'u', digits @ ..] => digits.len() < 4 && digits.iter().all(u8::is_ascii_hexdigit),
        [b'\\', digits @ ..] => digits.len() < 3 && digits.iter().all(|digit| matches!(digit, b'0'..=b'7')),
        _ => false,
    };
    (tail..text.len()).find(is_torn).map_or(text, |at| &text[..at])
}

/// The base64 characters of a secret that do not depend on the text before and after it, for each of the three
/// alignments (RFC 4648, sections 4 and 5).
fn in_base64(secret: &[u8]) -> Vec<Vec<u8>> {
    const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const FOR_URLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut pieces = Vec::new();
    for shift in 0..3 {
        let bit = |at: usize| {
            let byte = at.checked_sub(shift * 8).map(|at| (secret[at / 8], 7 - at % 8));
            byte.map_or(0, |(byte, place)| usize::from(byte >> place & 1))
        };
        // The first character free of bits from before the secret, and the end of those free of bits from after it.
        let (first, end) = ((shift * 8).div_ceil(6), (shift + secret.len()) * 8 / 6);
        let values: Vec<usize> =
            (first..end).map(|at| (0..6).fold(0, |value, place| value << 1 | bit(at * 6 + place))).collect();
        for alphabet in [STANDARD, FOR_URLS] {
            let piece: Vec<u8> = values.iter().map(|value| alphabet[*value]).collect();
            if piece.len() >= SHORTEST_PIECE && !pieces.contains(&piece) {
                pieces.push(piece);
            }
        }
    }
    pieces
}
