//! The two forms in which metrics are asked for: the text that every monitor reads, and OpenMetrics for those that say so.
//!
//! They differ in little, and a reader of one refuses the other: OpenMetrics names a counter without the `_total` that its
//! samples have, knows units, and has an end.

/// In which form somebody wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4: for whoever asks for nothing in particular.
    Text,
    OpenMetrics,
}

const OPEN_METRICS: &str = "application/openmetrics-text";
const VERSION: &str = "1.0.0";

impl Format {
    /// What `Accept` says, all of it with commas between; empty where there is none. Whoever takes neither gets the text, as from
    /// every other program with metrics.
    pub fn wanted(accept: &str) -> Self {
        let ranges: Vec<Range<'_>> = accept.split(',').map(Range::of).collect();
        let most = |of: &dyn Fn(&Range<'_>) -> bool| ranges.iter().filter(|range| of(range)).map(|range| range.q).max();
        let version = |range: &Range<'_>, known: &str| range.version.is_none_or(|version| version == known);
        let open = most(&|range| range.kind == OPEN_METRICS && version(range, VERSION));
        // The most specific range that speaks of a form decides.
        let text = most(&|range| range.kind == "text/plain" && version(range, "0.0.4"))
            .or_else(|| most(&|range| range.kind == "text/*"))
            .or_else(|| most(&|range| range.kind == "*/*"));
        match open {
            Some(open) if open > 0 && open >= text.unwrap_or(0) => Format::OpenMetrics,
            _ => Format::Text,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// From OpenMetrics, in which the metrics are written.
    pub(super) fn write(self, open: String) -> String {
        match self {
            Format::OpenMetrics => open,
            Format::Text => text(&open),
        }
    }
}

/// One entry of `Accept`.
struct Range<'a> {
    kind: String,
    version: Option<&'a str>,
    /// In thousandths.
    q: u32,
}

impl<'a> Range<'a> {
    fn of(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self { kind: parts.next().unwrap_or_default().to_lowercase(), version: None, q: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_lowercase().as_str() {
                "version" => range.version = Some(value),
                // What is no number is no preference.
                "q" => range.q = value.parse::<f32>().map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32),
                _ => {}
            }
        }
        range
    }
}

fn text(open: &str) -> String {
    let counters: Vec<&str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open.len() + counters.len() * 16);
    for line in open.lines() {
        let about = ["# HELP ", "# TYPE "].iter().find_map(|word| Some((*word, line.strip_prefix(word)?)));
        match about.map(|(word, rest)| (word, rest.split_once(' ').unwrap_or((rest, "")))) {
            Some((word, (name, what))) if counters.contains(&name) => text += &format!("{word}{name}_total {what}"),
            None if line.starts_with("# UNIT ") || line == "# EOF" => continue,
            _ => text += line,
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        // As Prometheus sends it: version 3, version 2 and before it.
        let three = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let two = "application/openmetrics-text; version=1.0.0,application/openmetrics-text; version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [
            three,
            two,
            "application/openmetrics-text",
            "APPLICATION/OpenMetrics-Text; Version=\"1.0.0\"",
            "application/openmetrics-text, */*",
            "text/plain;q=0.4, application/openmetrics-text;q=0.5",
        ] {
            assert_eq!(Format::wanted(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.3, text/plain;q=0.5",
            "application/openmetrics-text;version=2.0.0",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            ";;,=,q",
        ] {
            assert_eq!(Format::wanted(accept), Format::Text, "{accept}");
        }
    }

    #[test]
    fn text_names_a_counter_as_its_samples_do() {
        let open = "# HELP n_posts Posts.\n# TYPE n_posts counter\nn_posts_total 3\n\
                    # HELP n_wait_seconds Waits.\n# TYPE n_wait_seconds histogram\n# UNIT n_wait_seconds seconds\n\
                    n_wait_seconds_sum 1.0\n# EOF\n";
        let text = "# HELP n_posts_total Posts.\n# TYPE n_posts_total counter\nn_posts_total 3\n\
                    # HELP n_wait_seconds Waits.\n# TYPE n_wait_seconds histogram\nn_wait_seconds_sum 1.0\n";
        assert_eq!(Format::Text.write(open.into()), text);
        assert_eq!(Format::OpenMetrics.write(open.into()), open);
    }
}
