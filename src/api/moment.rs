//! Moments and spans of time as people read them.

/// `2026-11-21 08:30:00Z` from milliseconds since 1970 UTC.
pub fn stamp(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, where a leap day is the last day of its year; 400 years have 146,097 days.
    let from_march = days.saturating_add(719_468);
    let (era, day_of_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// `1 h 05 min`, `3 min 20 s`, `45 s`.
pub fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

/// Time between two moments in milliseconds; none when the second is not known.
pub fn took(started_ms: i64, ended_ms: Option<i64>) -> String {
    ended_ms.map(|ended| span(ended.saturating_sub(started_ms).max(0) as u64 / 1000)).unwrap_or_default()
}

/// `350 ms`, `2.4 s`, `3 min 20 s`: for comparing.
pub fn duration(milliseconds: i64) -> String {
    match milliseconds.max(0) {
        short @ 0..1000 => format!("{short} ms"),
        medium @ 1000..60_000 => format!("{:.1} s", medium as f64 / 1000.0),
        long => span(long as u64 / 1000),
    }
}
