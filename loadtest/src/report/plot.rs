//! Plots as inline SVG: drawn here, coloured by the page's style sheet, so that both schemes need one picture.

use maud::{Markup, html};

use crate::results::Distribution;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 30.0;
/// The most points of a line.
const POINTS: usize = 400;
/// Bars of a histogram.
const BARS: usize = 44;

/// Values over time.
pub(super) struct Series {
    pub(super) label: &'static str,
    /// Second and value; a gap where there is none.
    pub(super) points: Vec<(f64, Option<f64>)>,
    /// Of the style sheet: `a`, `b`, `c`.
    pub(super) colour: &'static str,
}

/// Maps values to the plane.
#[derive(Clone, Copy)]
struct Scale {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    fn at(self, value: f64) -> f64 {
        let of = |v: f64| if self.logarithmic { v.max(f64::MIN_POSITIVE).ln() } else { v };
        let share = (of(value) - of(self.from)) / (of(self.to) - of(self.from));
        self.low + share.clamp(0.0, 1.0) * (self.high - self.low)
    }
}

const fn across(from: f64, to: f64, logarithmic: bool) -> Scale {
    Scale { from, to, low: LEFT, high: WIDTH - RIGHT, logarithmic }
}

const fn upwards(to: f64) -> Scale {
    Scale { from: 0.0, to, low: HEIGHT - BOTTOM, high: TOP, logarithmic: false }
}

/// Some four to six round values from 0 to at least `most`.
fn steps(most: f64) -> Vec<f64> {
    let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
    let raw = most / 4.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= raw).unwrap_or(raw);
    let last = (most / step - 1e-9).ceil() as u32;
    (0..=last.max(1)).map(|n| f64::from(n) * step).collect()
}

/// 1, 2 and 5 times each power of ten within.
fn log_steps(from: f64, to: f64) -> Vec<f64> {
    let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    let all = |digits: &'static [f64]| {
        let values = (first..=last).flat_map(move |power| digits.iter().map(move |digit| digit * 10_f64.powi(power)));
        values.filter(|value| (from..=to).contains(value)).collect::<Vec<_>>()
    };
    let fine = all(&[1.0, 2.0, 5.0]);
    if fine.len() <= 9 { fine } else { all(&[1.0]) }
}

fn frame(title: &str, about: &str, legend: Markup, body: Markup) -> Markup {
    html! {
        figure {
            figcaption { strong { (title) } span { (about) } (legend) }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(format!("{title}: {about}")) { (body) }
        }
    }
}

fn up_axis(ticks: &[f64], scale: Scale, show: fn(f64) -> String) -> Markup {
    html! {
        @for &tick in ticks {
            line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(n(scale.at(tick))) y2=(n(scale.at(tick))) {}
            text.tick x=(LEFT - 8.0) y=(n(scale.at(tick) + 3.5)) text-anchor="end" { (short(show(tick))) }
        }
    }
}

fn across_axis(ticks: &[f64], scale: Scale, show: fn(f64) -> String) -> Markup {
    html! {
        line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
        @for tick in apart(ticks, scale) {
            line.axis x1=(n(scale.at(tick))) x2=(n(scale.at(tick))) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM + 4.0) {}
            @let anchor = if scale.at(tick) > WIDTH - RIGHT - 16.0 { "end" } else { "middle" };
            text.tick x=(n(scale.at(tick))) y=(HEIGHT - BOTTOM + 17.0) text-anchor=(anchor) { (short(show(tick))) }
        }
    }
}

/// Those ticks whose texts do not meet the one before.
fn apart(ticks: &[f64], scale: Scale) -> Vec<f64> {
    const TEXT: f64 = 42.0;
    let mut last = f64::NEG_INFINITY;
    let clear = |tick: &f64| {
        let clear = scale.at(*tick) - last >= TEXT;
        if clear {
            last = scale.at(*tick);
        }
        clear
    };
    ticks.iter().copied().filter(clear).collect()
}

/// A tick's text: no zeros behind the point, and no unit where there is nothing.
fn short(text: String) -> String {
    match text.split_once(' ') {
        Some((number, _)) if number.parse() == Ok(0.0) => "0".to_owned(),
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// A coordinate, to a tenth.
fn n(value: f64) -> String {
    format!("{value:.1}")
}

/// How often which value came, with lines at the median and at 99 %.
pub(super) fn histogram(title: &str, about: &str, values: &Distribution, show: fn(f64) -> String) -> Markup {
    if values.count == 0 {
        return html! {};
    }
    let least = low_end(values).max(values.max / 1e6).max(1e-6);
    let logarithmic = values.max / least > 12.0;
    let (from, to) = match logarithmic {
        true => (least * 0.9, values.max * 1.1),
        false => (0.0, steps(values.max.max(1e-6)).last().copied().unwrap_or(1.0)),
    };
    let x = across(from, to, logarithmic);
    let width = (WIDTH - RIGHT - LEFT) / BARS as f64;
    let bars = shares(values, |value| (x.at(value) - LEFT) / width);
    let most = bars.iter().copied().fold(0.0, f64::max);
    let ticks_up = steps(most);
    let y = upwards(*ticks_up.last().unwrap_or(&1.0));
    let ticks = if logarithmic { log_steps(from, to) } else { steps(values.max) };
    let marks = [("half", values.p50), ("99 %", values.p99)];
    // Two labels that would meet stand on two lines.
    let [first, second] = marks.map(|(_, value)| label_span(x.at(value)));
    let close = first.0 < second.1 && second.0 < first.1;
    let body = html! {
        (up_axis(&ticks_up, y, |value| format!("{} %", super::findings::plain(value))))
        @for (i, share) in bars.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            @let top = y.at(*share).min(HEIGHT - BOTTOM - 1.5);
            rect.bar x=(n(LEFT + i as f64 * width + 0.6)) width=(n(width - 1.2)) y=(n(top)) height=(n(HEIGHT - BOTTOM - top)) rx="1.5" {
                title { (format!("{share:.2} % of {} values", super::units::count(values.count))) }
            }
        }
        (across_axis(&ticks, x, show))
        @for (i, (label, value)) in marks.into_iter().enumerate() {
            @let at = x.at(value);
            @let right = stands_right(at);
            line.mark x1=(n(at)) x2=(n(at)) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
            text.label x=(n(if right { at + 5.0 } else { at - 5.0 })) y=(n(TOP + 9.0 + if close { 13.0 * i as f64 } else { 0.0 }))
                text-anchor=(if right { "start" } else { "end" }) { (label) " " (show(value)) }
        }
    };
    frame(title, about, html! {}, body)
}

/// How wide a mark's label is at most.
const LABEL: f64 = 100.0;

/// Whether a mark's label stands at the right of it.
fn stands_right(at: f64) -> bool {
    at < WIDTH - LABEL - 10.0
}

/// From where to where a mark's label reaches.
fn label_span(at: f64) -> (f64, f64) {
    if stands_right(at) { (at, at + LABEL) } else { (at - LABEL, at) }
}

/// Where the plot begins: one value in a thousand is smaller, and stands in the first bar. A stray one would otherwise
/// take half of a logarithmic axis.
fn low_end(values: &Distribution) -> f64 {
    let mut below = 0;
    for bucket in &values.buckets {
        below += bucket.count;
        if below * 1_000 > values.count {
            return bucket.up_to.min(values.p50);
        }
    }
    values.min
}

/// Percent of the values in each bar. A bucket that lies across bars is shared out: whole, it would now fill one and now
/// leave the next one empty, a pattern that is not in the values. `place` is where a value stands, in bars.
fn shares(values: &Distribution, place: impl Fn(f64) -> f64) -> [f64; BARS] {
    /// Buckets are at most 3 % wide, see [`Distribution::buckets`].
    const NARROW: f64 = 0.97;
    let mut bars = [0.0; BARS];
    let mut before = f64::NEG_INFINITY;
    for bucket in &values.buckets {
        let (from, to) =
            (place(before.max(bucket.up_to * NARROW).max(values.min.min(bucket.up_to))), place(bucket.up_to));
        before = bucket.up_to;
        let share = bucket.count as f64 * 100.0 / values.count as f64;
        let last = (to.max(0.0) as usize).min(BARS - 1);
        let first = (from.max(0.0) as usize).min(last);
        for (i, bar) in bars.iter_mut().enumerate().take(last + 1).skip(first) {
            let (left, right) = (from.max(i as f64), to.min(i as f64 + 1.0));
            let part = if first == last || to <= from { 1.0 } else { ((right - left) / (to - from)).max(0.0) };
            *bar += share * part;
        }
    }
    bars
}

/// Lines over the seconds of the run.
pub(super) fn lines(title: &str, about: &str, series: &[Series], show: fn(f64) -> String) -> Markup {
    over_time(title, about, series, show, |series, x, y| {
        html! { path class={ "line " (series.colour) } d=(path(&series.points, x, y)) {} }
    })
}

/// Bars over the seconds of the run.
pub(super) fn bars(title: &str, about: &str, series: Series, show: fn(f64) -> String) -> Markup {
    over_time(title, about, &[series], show, |series, x, y| {
        let points = thinned(&series.points);
        let width = ((WIDTH - RIGHT - LEFT) / points.len().max(1) as f64 - 1.0).clamp(1.0, 12.0);
        html! {
            @for (at, value) in points.iter().filter_map(|(at, value)| Some((at, value.filter(|value| *value > 0.0)?))) {
                rect class={ "bar " (series.colour) } x=(n((x.at(*at) - width).max(LEFT))) width=(n(width))
                    y=(n(y.at(value))) height=(n(HEIGHT - BOTTOM - y.at(value))) rx="1" {}
            }
        }
    })
}

fn over_time(
    title: &str,
    about: &str,
    series: &[Series],
    show: fn(f64) -> String,
    draw: fn(&Series, Scale, Scale) -> Markup,
) -> Markup {
    let points = || series.iter().flat_map(|series| &series.points);
    let values: Vec<f64> = points().filter_map(|(_, value)| *value).collect();
    if values.is_empty() {
        return html! {};
    }
    let end = points().map(|(at, _)| *at).fold(1.0, f64::max);
    let ticks_up = steps(values.iter().copied().fold(0.0, f64::max));
    let (x, y) = (across(0.0, end, false), upwards(*ticks_up.last().unwrap_or(&1.0)));
    let ticks: Vec<_> = steps(end).into_iter().filter(|tick| *tick <= end).collect();
    let legend = html! {
        @if series.len() > 1 {
            span.legend { @for series in series { span { i class=(series.colour) {} (series.label) } } }
        }
    };
    let body = html! {
        (up_axis(&ticks_up, y, show))
        (across_axis(&ticks, x, |second| format!("{} s", super::findings::plain(second))))
        @for series in series { (draw(series, x, y)) }
        @if values.iter().all(|value| *value == 0.0) {
            text.label x=(n((LEFT + WIDTH - RIGHT) / 2.0)) y=(n(HEIGHT / 2.0)) text-anchor="middle" { "none" }
        }
    };
    frame(title, about, legend, body)
}

/// Of each stretch of points the largest value, so that no peak goes lost.
fn thinned(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    let stretch = points.len().div_ceil(POINTS).max(1);
    let of = |chunk: &[(f64, Option<f64>)]| {
        let most = chunk.iter().filter_map(|(_, value)| *value).filter(|value| value.is_finite()).reduce(f64::max);
        (chunk.last().map_or(0.0, |(at, _)| *at), most)
    };
    points.chunks(stretch).map(of).collect()
}

fn path(points: &[(f64, Option<f64>)], x: Scale, y: Scale) -> String {
    let mut path = String::new();
    let mut open = false;
    for (at, value) in thinned(points) {
        if let Some(value) = value {
            path += &format!("{}{} {}", if open { "L" } else { "M" }, n(x.at(at)), n(y.at(value)));
        }
        open = value.is_some();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps_that_reach_the_largest_value() {
        assert_eq!(steps(10.0), [0.0, 2.5, 5.0, 7.5, 10.0]);
        assert_eq!(steps(0.47), [0.0, 0.2, 0.4, 0.6000000000000001]);
        assert_eq!(steps(0.0).len(), 5);
        for most in [1e-9, 0.3, 1.0, 7.7, 123_456.0, 9e18] {
            let steps = steps(most);
            assert!((2..=6).contains(&steps.len()) && *steps.last().unwrap() >= most * 0.999_999, "{most}: {steps:?}");
        }
        assert_eq!(log_steps(0.9, 12.0), [1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn ticks_are_short() {
        let ticks = ["0.00 ms", "20.0 Mbit/s", "0.60 %", "100 ms", "10"].map(|tick| short(tick.to_owned()));
        assert_eq!(ticks, ["0", "20 Mbit/s", "0.6 %", "100 ms", "10"]);
    }

    #[test]
    fn texts_do_not_meet() {
        let scale = across(0.5, 210.0, true);
        let ticks = apart(&log_steps(0.5, 210.0), scale);
        assert!(
            ticks.len() >= 4 && ticks.windows(2).all(|pair| scale.at(pair[1]) - scale.at(pair[0]) >= 42.0),
            "{ticks:?}"
        );
        // The second one stands at the left of its mark, over the first one's.
        let (first, second) = (label_span(WIDTH - 160.0), label_span(WIDTH - 100.0));
        assert!(second.0 < first.1 && first.0 < second.1);
    }

    #[test]
    fn a_peak_survives_thinning_and_a_gap_breaks_the_line() {
        let mut points: Vec<_> = (0..90_000).map(|i| (f64::from(i), Some(1.0))).collect();
        points[45_678].1 = Some(9.0);
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS && thin.iter().any(|(_, value)| *value == Some(9.0)));
        let gap = [(0.0, Some(1.0)), (1.0, Some(1.0)), (2.0, None), (3.0, Some(2.0)), (4.0, Some(2.0))];
        assert_eq!(path(&gap, across(0.0, 4.0, false), upwards(2.0)).matches('M').count(), 2);
    }

    #[test]
    fn every_value_of_a_histogram_is_in_one_of_its_bars() {
        let values = super::super::sample::results().summary.video_latency_ms;
        let svg = histogram("t", "a", &values, super::super::units::ms).into_string();
        let shares = svg.split("<title>").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        assert!((shares.sum::<f64>() - 100.0).abs() < 0.5, "{svg}");
        let whole = super::shares(&values, |value| value * 3.3);
        assert!((whole.iter().sum::<f64>() - 100.0).abs() < 1e-6, "{whole:?}");
    }

    #[test]
    fn a_stray_value_does_not_stretch_the_axis() {
        let bucket = |up_to, count| crate::results::Bucket { up_to, count };
        let buckets = vec![bucket(0.001, 1), bucket(1.0, 5_000), bucket(1.02, 4_999)];
        let values =
            Distribution { count: 10_000, min: 0.001, p50: 1.0, max: 1.02, buckets, ..Distribution::default() };
        assert_eq!(low_end(&values), 1.0);
        assert_eq!(low_end(&Distribution { min: 0.5, ..Distribution::default() }), 0.5);
    }

    #[test]
    fn strange_values_draw_no_nonsense() {
        let odd = |at, value| Series { label: "x", points: vec![(at, value)], colour: "a" };
        for series in [odd(0.0, Some(f64::NAN)), odd(0.0, Some(f64::INFINITY)), odd(0.0, Some(0.0)), odd(5.0, None)] {
            let svg = lines("t", "a", &[series], |value| value.to_string()).into_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        let one = Distribution {
            count: 1,
            buckets: vec![crate::results::Bucket { up_to: 0.0, count: 1 }],
            ..Distribution::default()
        };
        let svg = histogram("t", "a", &one, |value| value.to_string()).into_string();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
