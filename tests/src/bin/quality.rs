//! Measures the figures of media quality in simulated rooms, and says which hold.
//!
//! `cargo run -p weir-tests --bin quality` runs every scenario over ten seeds and exits with 1 if a figure misses its
//! target. `--search N` tries N new seeds and prints those that fail, to be replayed with `--seed`.

#[path = "../sim/hash_order.rs"]
mod hash_order;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use weir_tests::sim::run_seeded;
use weir_tests::sim::scenario::{self, Figure, Judge, Scenario, Target};
use weir_tests::sim::trace;

const USAGE: &str =
    "usage: quality [--list] [--scenario NAME]... [--seeds N] [--seed S]... [--search N] [--jobs N] [--markdown] [--trace]

  --list           names the scenarios and ends
  --scenario NAME  runs only this one; NAME may be the begin of several
  --seeds N        runs the seeds 1 to N (default 10)
  --seed S         runs this seed; may be given again
  --search N       tries N seeds not tried before, and prints those that fail
  --jobs N         runs so many at a time (default: one per core)
  --markdown       prints the table as Markdown
  --trace          prints what happened in the run, on the standard error";

struct Options {
    scenarios: Vec<Scenario>,
    seeds: Vec<u64>,
    search: bool,
    jobs: usize,
    markdown: bool,
    trace: bool,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let results = run_all(&options);
    let mut failed = false;
    header(options.markdown);
    for scenario in &options.scenarios {
        let runs = &results[scenario.name];
        let figures = pool(runs);
        failed |= figures.iter().any(|f| !f.passes()) || figures.is_empty();
        print(scenario, &figures, options.markdown);
    }
    if options.search {
        print_failing_seeds(&options, &results);
    }
    ExitCode::from(u8::from(failed))
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        scenarios: Vec::new(),
        seeds: Vec::new(),
        search: false,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        markdown: false,
        trace: false,
    };
    let mut count = 10;
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().ok_or(format!("{arg} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{arg}: {value:?} is no number"))
        };
        match arg.as_str() {
            "--list" => {
                scenario::all().iter().for_each(|s| println!("{:<28} {}", s.name, s.about));
                return Ok(None);
            }
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            "--seeds" => count = number()?,
            "--seed" => options.seeds.push(number()?),
            "--search" => (count, options.search) = (number()?, true),
            "--jobs" => options.jobs = number()?.max(1) as usize,
            "--markdown" => options.markdown = true,
            "--trace" => options.trace = true,
            "--scenario" => {
                let name = args.next().ok_or("--scenario needs a name")?;
                let found = scenario::all().into_iter().filter(|s| s.name.starts_with(&name)).collect::<Vec<_>>();
                if found.is_empty() {
                    return Err(format!("no scenario begins with {name:?}; see --list"));
                }
                options.scenarios.extend(found);
            }
            other => return Err(format!("unknown: {other}")),
        }
    }
    if options.scenarios.is_empty() {
        options.scenarios = scenario::all();
    }
    if options.search {
        options.seeds = (0..count).map(|_| fastrand::u64(1_000..1_000_000_000)).collect();
    } else if options.seeds.is_empty() {
        options.seeds = (1..=count).collect();
    }
    Ok(Some(options))
}

type Runs = BTreeMap<u64, Vec<Figure>>;

fn run_all(options: &Options) -> BTreeMap<&'static str, Runs> {
    let jobs: Vec<(Scenario, u64)> =
        options.scenarios.iter().flat_map(|s| options.seeds.iter().map(|seed| (*s, *seed))).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::<&'static str, Runs>::new());
    let work = || {
        while let Some((scenario, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let begin = Instant::now();
            let (run, keep) = (scenario.run, options.trace);
            let (figures, lines) = run_seeded(*seed, move |seed| {
                if keep {
                    trace::keep_lines();
                }
                (run(seed), trace::finished().lines)
            });
            lines.iter().for_each(|line| eprintln!("{line}"));
            let bad: Vec<&str> = missed(&figures).map(|f| f.name).collect();
            let verdict = if bad.is_empty() { "ok".to_owned() } else { format!("missed: {}", bad.join("; ")) };
            eprintln!("{} seed {seed}: {:.1} s, {verdict}", scenario.name, begin.elapsed().as_secs_f64());
            let mut results = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            results.entry(scenario.name).or_default().insert(*seed, figures);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.min(jobs.len())).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The figures that one run alone can miss: those that every run must meet.
fn missed(figures: &[Figure]) -> impl Iterator<Item = &Figure> {
    figures.iter().filter(|f| f.judge == Judge::Every && !f.passes())
}

/// The values of all seeds together.
fn pool(runs: &Runs) -> Vec<Figure> {
    let mut pooled: Vec<Figure> = Vec::new();
    for figure in runs.values().flatten() {
        match pooled.iter_mut().find(|p| p.name == figure.name) {
            Some(known) => known.values.extend(&figure.values),
            None => pooled.push(figure.clone()),
        }
    }
    pooled
}

fn header(markdown: bool) {
    if markdown {
        println!("| scenario | figure | median | judged | target | |\n|---|---|---:|---:|---|---|");
    } else {
        println!("{:<27} {:<34} {:>9} {:>9}  {:<14}", "scenario", "figure", "median", "judged", "target");
    }
}

fn print(scenario: &Scenario, figures: &[Figure], markdown: bool) {
    for figure in figures {
        let median = Figure { judge: Judge::Median, ..figure.clone() }.judged();
        let verdict = match (figure.target, figure.passes()) {
            (Target::Told, _) => "",
            (_, true) => "PASS",
            (_, false) => "FAIL",
        };
        let (median, judged, target) = (show(median), show(figure.judged()), describe(figure.target));
        if markdown {
            println!("| {} | {} | {median} | {judged} | {target} | {verdict} |", scenario.name, figure.name);
        } else {
            println!("{:<27} {:<34} {median:>9} {judged:>9}  {target:<14} {verdict}", scenario.name, figure.name);
        }
    }
}

fn show(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn describe(target: Target) -> String {
    match target {
        Target::Within(low, high) => format!("{} to {}", trim(low), trim(high)),
        Target::AtMost(high) => format!("at most {}", trim(high)),
        Target::AtLeast(low) => format!("at least {}", trim(low)),
        Target::Told => String::new(),
    }
}

fn trim(value: f64) -> String {
    format!("{value}")
}

fn print_failing_seeds(options: &Options, results: &BTreeMap<&'static str, Runs>) {
    for scenario in &options.scenarios {
        for (seed, figures) in &results[scenario.name] {
            for figure in missed(figures) {
                println!(
                    "failed: --scenario {} --seed {seed}: {} = {}, target {}",
                    scenario.name,
                    figure.name,
                    show(figure.judged()),
                    describe(figure.target)
                );
            }
        }
    }
}
