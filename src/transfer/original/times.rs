//! Times as Python prints them: `2024-03-01 12:34:56.789012`, with a space or a `T`, with or without seconds, fraction and
//! offset.

use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

/// A time read from a text, in milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    pub millis: i64,
    /// It said no offset, so the one that was given counts.
    pub naive: bool,
}

/// `None` for what is no time.
pub(super) fn read(text: &str, zone: UtcOffset) -> Option<Read> {
    let (date, rest) = text.trim().split_at_checked(10)?;
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    if year == 0 || parts.next().is_some() {
        return None;
    }
    let clock = match rest.strip_prefix(['T', 't', ' ']) {
        Some(clock) => clock.trim_start(),
        None if rest.is_empty() => "00:00",
        None => return None,
    };
    let end = clock.find(['Z', 'z', '+', '-', ' ']).unwrap_or(clock.len());
    let (clock, offset) = (&clock[..end], clock[end..].trim_start());
    let time = clock_time(clock)?;
    let said = if offset.is_empty() { None } else { Some(parse_offset(offset)?) };
    let at = PrimitiveDateTime::new(date, time).assume_offset(said.unwrap_or(zone));
    let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
    Some(Read { millis: i64::try_from(millis).ok()?, naive: said.is_none() })
}

/// `12:34`, `12:34:56`, `12:34:56.789012`.
fn clock_time(text: &str) -> Option<Time> {
    let (clock, fraction) = text.split_once(['.', ',']).map_or((text, None), |(clock, rest)| (clock, Some(rest)));
    let mut parts = clock.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| number(second, 2))?;
    let nanos = match fraction {
        None => 0,
        Some(digits) if (1..=9).contains(&digits.len()) => {
            number(digits, digits.len())? * 10u64.pow(9 - digits.len() as u32)
        }
        Some(_) => return None,
    };
    if parts.next().is_some() {
        return None;
    }
    let small = |number: u64| u8::try_from(number).ok();
    Time::from_hms_nano(small(hour)?, small(minute)?, small(second)?, u32::try_from(nanos).ok()?).ok()
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let sound = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    sound.then(|| text.parse().ok()).flatten()
}

/// `Z`, `UTC`, `+02:00`, `-0330`, `+2`.
pub fn parse_offset(text: &str) -> Option<UtcOffset> {
    if ["z", "utc", "gmt"].contains(&text.to_ascii_lowercase().as_str()) {
        return Some(UtcOffset::UTC);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match (digits.split_once(':'), digits.len()) {
        (Some((hours, minutes)), _) => (number(hours, 2)?, number(minutes, 2)?),
        (None, 4) => (number(digits.get(..2)?, 2)?, number(digits.get(2..)?, 2)?),
        (None, length) => (number(digits, length.clamp(1, 2))?, 0),
    };
    let small = |number: u64| i8::try_from(number).ok().map(|number| sign * number);
    if minutes > 59 {
        return None;
    }
    UtcOffset::from_hms(small(hours)?, small(minutes)?, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_python_prints_them() {
        let (utc, east) = (UtcOffset::UTC, UtcOffset::from_hms(2, 0, 0).unwrap());
        let noon = 1_709_296_496_789;
        for (text, zone, millis, naive) in [
            ("2024-03-01 12:34:56.789012", utc, noon, true),
            ("2024-03-01T12:34:56.789", utc, noon, true),
            ("2024-03-01 12:34:56.789012", east, noon - 7_200_000, true),
            ("2024-03-01 12:34:56", utc, noon - 789, true),
            ("2024-03-01 12:34", utc, noon - 56_789, true),
            ("2024-03-01", utc, noon - 45_296_789, true),
            ("2024-03-01 12:34:56.789012+00:00", east, noon, false),
            ("2024-03-01T12:34:56.789Z", east, noon, false),
            ("2024-03-01T14:34:56.789+0200", utc, noon, false),
            (" 2024-03-01 12:34:56.789 UTC ", east, noon, false),
            ("1969-12-31 23:59:59.999999", utc, -1, true),
        ] {
            let read = read(text, zone);
            let due = match text.contains("UTC") {
                // A zone's name after a space is an offset only where it is UTC.
                true => read,
                false => Some(Read { millis, naive }),
            };
            assert_eq!(read, due, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2024-13-01 00:00:00",
            "2024-02-30",
            "2024-03-01 24:00",
            "2024-03-01 12:34:56.",
            "0000-01-01",
            "2024-03-01 12:34:5",
            "2024-03-01x12:34",
            "2024-03-01 12:34:56 CET",
            "12/03/2024",
            "2024-03-01 12:34:56+2:0",
            "é2024-03-0",
        ] {
            assert_eq!(read(text, UtcOffset::UTC), None, "{text}");
        }
    }

    #[test]
    fn offsets_are_read_in_the_usual_forms() {
        for (text, seconds) in
            [("Z", 0), ("utc", 0), ("+02:00", 7200), ("-0330", -12600), ("+2", 7200), ("-11", -39600)]
        {
            assert_eq!(parse_offset(text).map(UtcOffset::whole_seconds), Some(seconds), "{text}");
        }
        for text in ["", "2", "+", "+2:00", "+99:00", "+02:75", "Europe/Berlin"] {
            assert_eq!(parse_offset(text), None, "{text}");
        }
    }
}
