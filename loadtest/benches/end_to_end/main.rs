//! What a forwarded packet costs the whole server, beside the least that any server must pay for it on this machine:
//! `cargo bench -p weir-loadtest --bench end_to_end [-- --rounds N --seconds N --line TEXT]`; and what one worker carries:
//! `[-- --rooms N,N... --seconds N [--half]]`, rooms of one publisher with sound and ten viewers, so many at a time, with the
//! server on one processor and the tester on another (`taskset`). With `--half` another program takes half of the server's
//! processor while it is measured: so the server has more to do than it can, and the tester has not.
//!
//! Each round measures the floor (sealing 1200 bytes with AES-256-GCM, sending eight such in one call, in a loop; and the same
//! 30 times a second for each of 50 receivers who wait, as in a call, which is what is left to save), then each line:
//! a fresh server with one media worker, one publisher of 2.5 Mbps at 30 frames a second, and viewers over the network,
//! all by `weir-loadtest`. Processor time (user and system) and packets forwarded are the server's own, taken over the
//! time after all have joined.

mod floor;
mod server;

use std::process::ExitCode;
use std::time::Duration;

use server::{Plan, Programs, Sample, run};

/// One line of the table.
struct Line {
    name: &'static str,
    viewers: u32,
    transport_cc: bool,
    /// The most that it may cost, in floors.
    goal: f64,
}

const LINES: [Line; 4] = [
    Line { name: "1 to 50, all on", viewers: 50, transport_cc: true, goal: 3.2 },
    Line { name: "1 to 50, BWE off", viewers: 50, transport_cc: false, goal: 2.6 },
    Line { name: "1 to 200, all on", viewers: 200, transport_cc: true, goal: 3.2 },
    Line { name: "1 to 200, BWE off", viewers: 200, transport_cc: false, goal: 2.6 },
];

struct Options {
    rounds: usize,
    measured: Duration,
    only: String,
    /// None: costs are measured. Else how much one worker carries, with so many rooms.
    rooms: Vec<u32>,
    /// Another program takes half of the server's processor meanwhile.
    half: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options =
        Options { rounds: 5, measured: Duration::from_secs(10), only: String::new(), rooms: Vec::new(), half: false };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        // What cargo itself passes on.
        if name == "--bench" {
            continue;
        }
        if name == "--half" {
            options.half = true;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(|| format!("{name} {value}: a number"));
        match &*name {
            "--rounds" => options.rounds = number()? as usize,
            "--seconds" => options.measured = Duration::from_secs(u64::from(number()?)),
            "--line" => options.only = value,
            "--rooms" => {
                let rooms = value.split(',').map(|n| n.parse().ok().filter(|n| *n > 0)).collect::<Option<Vec<u32>>>();
                options.rooms = rooms.ok_or_else(|| format!("--rooms {value}: numbers, as in 10,20"))?;
            }
            _ => return Err(format!("{name} is not known: --rounds N, --seconds N, --line TEXT, --rooms N,N, --half")),
        }
    }
    if options.half && options.rooms.is_empty() {
        return Err("--half goes with --rooms: costs are measured undisturbed".to_owned());
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<(), String> {
    let programs = server::build()?;
    if options.rooms.is_empty() { measure_costs(options, &programs) } else { measure_load(options, &programs) }
}

/// How much one worker carries, and what becomes of more.
fn measure_load(options: &Options, programs: &Programs) -> Result<(), String> {
    println!("load {} at the beginning\n", load());
    println!(
        "| rooms | packets/s | worker busy | us/packet | inside p50, p99 ms | video p50, p99, worst second's p99 ms | \
         sound p50, p90, p99 ms | \
         viewers without a picture | pictures shed at the end | dropped late, by the kernel |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for rooms in &options.rooms {
        let plan = Plan {
            rooms: *rooms,
            viewers: 10,
            sound: true,
            transport_cc: true,
            measured: options.measured,
            to_the_limit: true,
            half: options.half,
        };
        let s = run(programs, &plan)?;
        println!(
            "| {rooms} | {:.0} | {:.2} | {:.2} | {:.2}, {:.2} | {:.2}, {:.2}, {:.2} | {:.2}, {:.2}, {:.2} | {} | {} | {}, {} |",
            s.per_second,
            s.busy,
            s.micros,
            s.inside_p50_ms,
            s.inside_p99_ms,
            s.p50_ms,
            s.p99_ms,
            s.worst_p99_ms,
            s.sound_p50_ms,
            s.sound_p90_ms,
            s.sound_p99_ms,
            s.without_media,
            s.shed,
            s.dropped_late,
            s.dropped_send
        );
    }
    Ok(())
}

fn measure_costs(options: &Options, programs: &Programs) -> Result<(), String> {
    let lines: Vec<&Line> = LINES.iter().filter(|line| line.name.contains(&options.only)).collect();
    let mut floors = [const { Vec::new() }; 3];
    let mut samples: Vec<Vec<Sample>> = lines.iter().map(|_| Vec::new()).collect();
    for round in 1..=options.rounds {
        let found = [floor::measure(), floor::measure_paced(false), floor::measure_paced(true)];
        for (floors, found) in floors.iter_mut().zip(found) {
            floors.push(found.map_err(|error| format!("cannot measure the floor: {error}"))?);
        }
        let [floor, paced, reported] = floors.each_ref().map(|floors| floors[round - 1]);
        eprintln!(
            "round {round} of {}: floor {floor:.2} us, at a call's pace {paced:.2}, with reports {reported:.2}; load {}",
            options.rounds,
            load()
        );
        for (line, samples) in lines.iter().zip(&mut samples) {
            let (viewers, transport_cc) = (line.viewers, line.transport_cc);
            let measured = options.measured;
            let plan =
                Plan { rooms: 1, viewers, sound: false, transport_cc, measured, to_the_limit: false, half: false };
            let sample = run(programs, &plan)?;
            eprintln!("  {}: {:.2} us, {} packets/s", line.name, sample.micros, sample.per_second.round());
            samples.push(sample);
        }
    }
    let [floor, paced, reported] = floors.map(median);
    println!("\nfloor: seal and send in runs of 8: {floor:.2} us a packet; load {}", load());
    println!("the same at the pace of 1 to 50: {paced:.2}; and to take in the reports of 50: {reported:.2}\n");
    println!("| | us/packet | floors | goal | packets/s | datagrams a call | inside p50, p99 ms | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (line, samples) in lines.iter().zip(&samples) {
        let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value).collect());
        let micros = of(|s| s.micros);
        println!(
            "| {} | {micros:.2} | {:.2} | {} | {:.0} | {:.1} | {:.2}, {:.2} | {:.2} | {:.2} |",
            line.name,
            micros / floor,
            line.goal,
            of(|s| s.per_second),
            of(|s| s.run),
            of(|s| s.inside_p50_ms),
            of(|s| s.inside_p99_ms),
            of(|s| s.p50_ms),
            of(|s| s.p99_ms)
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
