//! Reads what Slack was sent: which services are down, or have recovered, in the words of each message.

use std::collections::BTreeMap;

/// What a message says of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    Down,
    /// A run took too long.
    Overran,
    Recovered,
    Reminder,
}

/// What a message says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Of services that it names.
    pub(crate) named: Vec<(News, String)>,
    /// How many more it only counts.
    pub(crate) counted: BTreeMap<News, usize>,
    /// Lines that nothing here understands.
    pub(crate) unknown: Vec<String>,
}

impl Content {
    pub(crate) fn read(text: &str) -> Self {
        let mut content = Self::default();
        for line in text.lines() {
            if content.read_one(line).or_else(|| content.read_many(line)).is_none() {
                content.unknown.push(line.to_owned());
            }
        }
        content
    }

    /// Reads a line about one service: `:rotating_light: [p3] NAME is down: REASON`.
    fn read_one(&mut self, line: &str) -> Option<()> {
        let (emoji, rest) = line.split_once(' ')?;
        let (news, name) = match emoji {
            ":rotating_light:" => (News::Down, after_priority(rest)?.split_once(" is down: ")?.0),
            ":bell:" => (News::Reminder, after_priority(rest)?.split_once(" is still down ")?.0),
            ":white_check_mark:" => (News::Recovered, rest.split_once(" has recovered")?.0),
            ":hourglass:" => {
                let (job, _reason) = after_priority(rest)?.split_once(": ")?;
                (News::Overran, job.rsplit_once(" for ")?.1)
            }
            _ => return None,
        };
        self.named.push((news, name.to_owned()));
        Some(())
    }

    /// Reads a line about many: `:bell: 23 services are still down: NAME, NAME and 21 more`.
    fn read_many(&mut self, line: &str) -> Option<()> {
        let (emoji, rest) = line.split_once(' ')?;
        let news = match emoji {
            ":rotating_light:" => News::Down,
            ":bell:" => News::Reminder,
            ":white_check_mark:" => News::Recovered,
            ":hourglass:" => News::Overran,
            _ => return None,
        };
        let many: usize = rest.split_once(' ')?.0.parse().ok()?;
        let names = rest.split_once(": ")?.1;
        let names = names.split_once(" and ").map_or(names, |(names, _more)| names);
        let names: Vec<_> = names.split(", ").map(|name| (news, name.to_owned())).collect();
        *self.counted.entry(news).or_default() += many.checked_sub(names.len())?;
        self.named.extend(names);
        Some(())
    }
}

fn after_priority(text: &str) -> Option<&str> {
    Some(text.strip_prefix('[')?.split_once("] ")?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_service_or_a_count_of_many() {
        let content = Content::read(
            ":rotating_light: [p3] soak-1 is down: no heartbeat\n:bell: [p3] soak-2 is still down after 1 min (reminder 1)\n\
             :white_check_mark: soak-3 has recovered after 2 min\n\
             :hourglass: [p3] Stale job detected for soak-4: it has not ended\n\
             :white_check_mark: soak-4 has recovered: run run-7 ended after 1 min\n\
             :rotating_light: 23 services are down: soak-5, soak-6 and 21 more\nsomething else",
        );
        let named: Vec<_> = content.named.iter().map(|(news, name)| (*news, name.as_str())).collect();
        let expected = [
            (News::Down, "soak-1"),
            (News::Reminder, "soak-2"),
            (News::Recovered, "soak-3"),
            (News::Overran, "soak-4"),
            (News::Recovered, "soak-4"),
            (News::Down, "soak-5"),
            (News::Down, "soak-6"),
        ];
        assert_eq!(named, expected);
        assert_eq!(content.counted, BTreeMap::from([(News::Down, 21)]));
        assert_eq!(content.unknown, ["something else"]);
    }
}
