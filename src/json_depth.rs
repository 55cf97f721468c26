//! How deep a JSON text nests, by a cheap look ahead: nothing is built of a text that nests too deep. It knows nobody.

/// Where `text` begins to nest more than `most` levels deep. What is inside a string does not count.
pub fn exceeded_at(text: &[u8], most: usize) -> Option<usize> {
    // Nearly every text has fewer brackets in all.
    if text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= most {
        return None;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (offset, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > most {
                    return Some(offset);
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}
