//! How the protocol's structs are described in the OpenAPI document: field by field, from the same
//! lists the code works with.

use kinesis_protocol::{Counters, Prices, Resources};
use utoipa::openapi::{ObjectBuilder, schema::Type};

fn numbers<'a>(description: &str, names: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    names.into_iter().fold(ObjectBuilder::new().description(Some(description)), |object, name| {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        object.property(name, number)
    })
}

/// Cumulative usage.
pub(super) fn counters() -> ObjectBuilder {
    let counters = Counters::default().by_name();
    let energy =
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["estimated", "measured"]));
    numbers("Everything used so far, counter by counter", counters.map(|(name, _)| name))
        .property("energy_source", energy)
}

/// Unit prices.
pub(super) fn prices() -> ObjectBuilder {
    let prices = Prices::default().by_name();
    numbers(
        "Quintillionths of a dollar for each unit of each counter",
        prices.map(|(name, _)| name),
    )
}

/// An amount of a machine.
pub(super) fn resources() -> ObjectBuilder {
    // Destructured, so that a new field is not forgotten here.
    let Resources { cpu_millis: _, mem_mib: _, disk_mib: _, gpus: _, vram_mib: _ } =
        Resources::default();
    let names = ["cpu_millis", "mem_mib", "disk_mib", "gpus", "vram_mib"];
    numbers("An amount of a machine", names)
}
