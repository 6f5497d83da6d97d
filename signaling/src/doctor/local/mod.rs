//! What there is to see on the server's own machine.

mod addresses;
pub(in crate::doctor) mod certificate;
mod machine;
mod ports;

use super::report::{Finding, Report};
use super::{Request, clock};
use crate::config::load;

pub(super) async fn examine(request: &Request) -> Report {
    let target = String::from("this machine");
    let config = match load(&request.sources) {
        Ok(config) => config,
        Err(error) => {
            let finding = Finding::fails("configuration", error.to_string()).means("the server would not start");
            return Report { target, findings: vec![finding] };
        }
    };
    let mut findings = vec![Finding::ok("configuration", "it holds")];
    let (ports, addresses, clock) = tokio::join!(
        ports::examine(&config),
        addresses::examine(&config),
        clock::examine(&request.clock, &request.ntp)
    );
    findings.extend(ports);
    findings.extend(addresses);
    findings.push(certificate::examine(&config, request.clock.now()));
    findings.push(clock);
    findings.extend(machine::examine(&config));
    Report { target, findings }
}
