//! BERT's uncased WordPiece tokenizer: clean, lower, strip accents, split at spaces and punctuation,
//! then the longest pieces the vocabulary has.

use std::collections::HashMap;

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// A longer word is unknown.
const WORD_CHARS_MAX: usize = 100;

/// Text to token ids.
pub(crate) struct Tokenizer {
    ids: HashMap<String, u32>,
    unknown: u32,
    begin: u32,
    end: u32,
}

impl Tokenizer {
    /// From a `vocab.txt`: one token a line, the line's number is its id.
    pub(crate) fn new(vocabulary: &str) -> Result<Self, String> {
        let ids: HashMap<String, u32> =
            vocabulary.lines().map(|line| line.trim_end().to_owned()).zip(0..).collect();
        let special = |name: &str| ids.get(name).copied().ok_or(format!("has no {name}"));
        Ok(Self {
            unknown: special("[UNK]")?,
            begin: special("[CLS]")?,
            end: special("[SEP]")?,
            ids,
        })
    }

    /// The tokens of `text` between `[CLS]` and `[SEP]`, cut to `most`.
    pub(crate) fn encode(&self, text: &str, most: usize) -> Vec<u32> {
        let mut tokens = vec![self.begin];
        for word in words(text) {
            if tokens.len() >= most {
                break;
            }
            self.pieces(&word, &mut tokens);
        }
        tokens.truncate(most - 1);
        tokens.push(self.end);
        tokens
    }

    fn pieces(&self, word: &str, tokens: &mut Vec<u32>) {
        let before = tokens.len();
        let mut rest = word;
        if word.chars().count() > WORD_CHARS_MAX {
            tokens.push(self.unknown);
            return;
        }
        while !rest.is_empty() {
            let prefix = if rest.len() == word.len() { "" } else { "##" };
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).rev();
            let longest = ends
                .filter_map(|end| Some((end, *self.ids.get(&format!("{prefix}{}", &rest[..end]))?)))
                .next();
            let Some((end, id)) = longest else {
                // One piece that is not there makes the whole word unknown.
                tokens.truncate(before);
                tokens.push(self.unknown);
                return;
            };
            tokens.push(id);
            rest = &rest[end..];
        }
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let lowered = text.chars().filter(|c| !is_control(*c)).flat_map(char::to_lowercase);
    for c in lowered.nfd().filter(|c| !is_combining_mark(*c)) {
        if c.is_whitespace() {
            words.push(String::new());
        } else if is_punctuation(c) || is_cjk(c) {
            words.push(c.to_string());
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_control(c: char) -> bool {
    let white = matches!(c, '\t' | '\n' | '\r');
    c == '\0' || c == '\u{FFFD}' || (c.is_control() && !white) || is_format(c)
}

/// Unicode's invisible format characters, which count as control characters.
fn is_format(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E
        | 0x2060..=0x2064 | 0x2066..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0001 | 0xE0020..=0xE007F)
}

/// ASCII's symbols, and the blocks of Unicode where punctuation lives.
fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(u32::from(c),
            0xA1 | 0xA7 | 0xAB | 0xB6 | 0xB7 | 0xBB | 0xBF | 0x37E | 0x387 | 0x55A..=0x55F
            | 0x589 | 0x58A | 0x5BE | 0x5C0 | 0x5C3 | 0x5C6 | 0x5F3 | 0x5F4 | 0x60C | 0x60D
            | 0x61B | 0x61E | 0x61F | 0x66A..=0x66D | 0x6D4 | 0x964 | 0x965 | 0x970 | 0xE4F
            | 0x2010..=0x2027 | 0x2030..=0x205E | 0x207D | 0x207E | 0x208D | 0x208E
            | 0x2308..=0x230B | 0x2329 | 0x232A | 0x2768..=0x2775 | 0x27E6..=0x27EF
            | 0x2983..=0x2998 | 0x2E00..=0x2E4F | 0x3001..=0x3003 | 0x3008..=0x3011
            | 0x3014..=0x301F | 0x3030 | 0x303D | 0x30A0 | 0x30FB | 0xFE10..=0xFE19
            | 0xFE30..=0xFE52 | 0xFE54..=0xFE61 | 0xFE63 | 0xFE68 | 0xFE6A | 0xFE6B
            | 0xFF01..=0xFF03 | 0xFF05..=0xFF0A | 0xFF0C..=0xFF0F | 0xFF1A | 0xFF1B | 0xFF1F
            | 0xFF20 | 0xFF3B..=0xFF3D | 0xFF3F | 0xFF5B | 0xFF5D | 0xFF5F..=0xFF65)
}

/// Ideographs are words of their own.
fn is_cjk(c: char) -> bool {
    matches!(u32::from(c),
        0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2A6DF
        | 0x2A700..=0x2B73F | 0x2B740..=0x2B81F | 0x2B820..=0x2CEAF | 0x2F800..=0x2FA1F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_at_spaces_punctuation_and_ideographs() {
        assert_eq!(words("It's  ÇA va?\u{200b}"), ["it", "'", "s", "ca", "va", "?"]);
        assert_eq!(words("a\t日本 b"), ["a", "日", "本", "b"]);
    }

    #[test]
    fn the_longest_pieces_win_and_one_unknown_piece_spoils_the_word() {
        let tokenizer =
            Tokenizer::new("[UNK]\n[CLS]\n[SEP]\nun\n##want\n##wanted\nrunn\n##ing").unwrap();
        assert_eq!(tokenizer.encode("Unwanted running unknown", 16), [1, 3, 5, 6, 7, 0, 2]);
        assert_eq!(tokenizer.encode("unwanted unwanted unwanted", 4), [1, 3, 5, 2]);
        assert_eq!(tokenizer.encode("", 4), [1, 2]);
    }
}
