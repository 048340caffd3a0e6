//! What was seen of the program meanwhile: a table, a plot, and whether it is
//! flat.

use std::{fmt::Write, time::Duration};

/// One look at the program.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// KiB.
    pub(super) resident: i64,
    pub(super) threads: usize,
    pub(super) descriptors: usize,
    pub(super) clients: usize,
    /// KiB of history, which grow until the bound is reached.
    pub(super) history: u64,
}

impl Sample {
    const NAMES: [&str; 5] = ["memory, KiB", "threads", "descriptors", "clients", "history, KiB"];

    fn numbers(&self) -> [f64; 5] {
        let Self { resident, threads, descriptors, clients, history } = *self;
        [resident as f64, threads as f64, descriptors as f64, clients as f64, history as f64]
    }
}

/// All looks, in order.
#[derive(Debug)]
pub(super) struct Record {
    every: Duration,
    samples: Vec<Sample>,
    before: Sample,
    after: Sample,
    pub(super) counts: Vec<(&'static str, u64)>,
}

impl Record {
    pub(super) fn new(every: Duration) -> Self {
        let (before, after) = Default::default();
        Self { every, samples: Vec::new(), before, after, counts: Vec::new() }
    }

    pub(super) fn note(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// What it was before everything came, and after everything has gone.
    pub(super) fn end(&mut self, before: Sample, after: Sample) {
        (self.before, self.after) = (before, after);
    }

    pub(super) fn counted(&self, what: &str) -> u64 {
        self.counts.iter().find(|(name, _)| *name == what).expect(what).1
    }

    /// The mean of each number over one third of the time.
    fn mean(&self, third: usize) -> [f64; 5] {
        let length = self.samples.len();
        let part = &self.samples[length * third / 3..length * (third + 1) / 3];
        let sum = |number| part.iter().map(|sample| sample.numbers()[number]).sum::<f64>();
        [0, 1, 2, 3, 4].map(|number| sum(number) / part.len().max(1) as f64)
    }

    pub(super) fn print(&self) {
        println!("| | before | first third | second | last | after |");
        println!("|---|---|---|---|---|---|");
        let thirds = [0, 1, 2].map(|third| self.mean(third));
        let (before, after) = (self.before.numbers(), self.after.numbers());
        for (number, name) in Sample::NAMES.iter().enumerate() {
            let [first, second, last] = thirds.map(|third| third[number]);
            let (before, after) = (before[number], after[number]);
            println!("| {name} | {before} | {first:.1} | {second:.1} | {last:.1} | {after} |");
        }
        println!("\n| | |\n|---|---|");
        for (name, count) in &self.counts {
            println!("| {name} | {count} |");
        }
    }

    /// Of the last third as much as of the second, to a twentieth.
    pub(super) fn assert_flat(&self) {
        let [second, last] = [1, 2].map(|third| self.mean(third));
        for (number, name) in Sample::NAMES.iter().enumerate().take(3) {
            let (second, last) = (second[number], last[number]);
            assert!(last < second * 1.05 + 2.0, "{name}: {second:.1}, then {last:.1}");
        }
    }

    /// One panel below the other, as SVG.
    pub(super) fn plot(&self) -> String {
        const WIDTH: f64 = 760.0;
        const HEIGHT: f64 = 110.0;
        const LEFT: f64 = 90.0;
        const TOP: f64 = 24.0;
        let minutes = self.every.as_secs_f64() * self.samples.len() as f64 / 60.0;
        let all = TOP + Sample::NAMES.len() as f64 * HEIGHT + 20.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{all}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{all}\" fill=\"white\"/>\n"
        );
        for (number, name) in Sample::NAMES.iter().enumerate() {
            let values: Vec<f64> = self.samples.iter().map(|one| one.numbers()[number]).collect();
            let most = values.iter().copied().fold(1.0, f64::max);
            let top = TOP + number as f64 * HEIGHT;
            let (height, width) = (HEIGHT - 34.0, WIDTH - LEFT - 20.0);
            let bottom = top + height;
            let right = LEFT + width;
            let x = |index: usize| LEFT + width * index as f64 / (values.len() - 1).max(1) as f64;
            let points: Vec<String> = values
                .iter()
                .enumerate()
                .map(|(index, value)| {
                    format!("{:.1},{:.1}", x(index), bottom - height * value / most)
                })
                .collect();
            let edge = LEFT - 6.0;
            let _ = writeln!(
                svg,
                "<text x=\"{LEFT}\" y=\"{:.0}\" font-weight=\"bold\">{name}</text>\n\
                 <path d=\"M{LEFT},{top} V{bottom} H{right}\" fill=\"none\" stroke=\"#8a8f98\"/>\n\
                 <text x=\"{edge}\" y=\"{:.0}\" text-anchor=\"end\">{most:.0}</text>\n\
                 <text x=\"{edge}\" y=\"{bottom}\" text-anchor=\"end\">0</text>\n\
                 <polyline points=\"{}\" fill=\"none\" stroke=\"#1f6f8b\" stroke-width=\"1.2\"/>",
                top - 6.0,
                top + 8.0,
                points.join(" ")
            );
        }
        let (y, x) = (all - 6.0, WIDTH - 20.0);
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{y}\">0</text>\
             <text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{minutes:.0} min</text>\n</svg>"
        );
        svg
    }
}
