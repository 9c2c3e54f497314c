//! A host that takes few records in a call: nothing is wrong about that.

use pvir_abi::{Discovery, Operation};

use super::block::Block;
use super::{Change, HonestService};

/// At most so many records in a call, as CPUID and FEATURES say.
pub(super) struct FewerRecords(pub(super) u32);

impl Change for FewerRecords {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let takes_several = !matches!(request.header.operation, Operation::FEATURES | Operation::ENABLE);
        if takes_several && request.header.count > self.0 {
            // More than any host takes, so that the service judges it where it judges the number of records.
            return service.call_changed(request, |request| request.header.count = u32::MAX);
        }
        let mut answer = service.call(request);
        if answer.is_answered() {
            answer.each_features(|record| record.max_records = self.0);
        }
        answer
    }

    fn discovery(&self, discovery: Discovery) -> Discovery {
        let mut fewer = discovery;
        fewer.max_records = self.0;
        fewer
    }
}
