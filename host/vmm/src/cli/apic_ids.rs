//! Which vCPU has which APIC id.

/// The APIC id of each vCPU, from the number of vCPUs, the list of ids, and the ids of single vCPUs.
pub(super) fn resolve(cpus: Option<u32>, list: &[u32], single: &[(u32, u32)]) -> Result<Vec<u32>, String> {
    let ids = if list.is_empty() {
        let cpus = cpus.unwrap_or(1);
        let mut ids: Vec<u32> = (0..cpus).collect();
        for &(cpu, id) in single {
            let index = usize::try_from(cpu).unwrap_or(usize::MAX);
            let slot = ids.get_mut(index).ok_or_else(|| {
                format!("--apic-id {cpu}={id}: there is no vCPU {cpu} with --cpus {cpus} (they count from 0)")
            })?;
            *slot = id;
        }
        ids
    } else {
        if let Some(cpus) = cpus {
            if usize::try_from(cpus) != Ok(list.len()) {
                return Err(format!("--apic-ids has {} ids, but --cpus is {cpus}", list.len()));
            }
        }
        list.to_vec()
    };
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("--apic-ids: two vCPUs have the APIC id {}", twice[0]));
    }
    Ok(ids)
}

/// `CPU=ID`.
pub(super) fn parse_one(text: &str) -> Result<(u32, u32), String> {
    let (cpu, id) = text.split_once('=').ok_or("expected CPU=ID, for example 1=300")?;
    let number = |part: &str| part.parse().map_err(|_| format!("`{part}` is not a number"));
    Ok((number(cpu)?, number(id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apic_ids_count_from_zero_by_default() {
        assert_eq!(resolve(Some(3), &[], &[]), Ok(vec![0, 1, 2]));
        assert_eq!(resolve(None, &[], &[]), Ok(vec![0]));
    }

    #[test]
    fn apic_id_list_sets_the_number_of_cpus() {
        assert_eq!(resolve(None, &[0, 300], &[]), Ok(vec![0, 300]));
        assert_eq!(resolve(Some(2), &[], &[(1, 300)]), Ok(vec![0, 300]));
    }

    #[test]
    fn contradicting_apic_ids_are_refused_by_the_name_of_the_flag() {
        assert!(resolve(Some(3), &[0, 300], &[]).unwrap_err().contains("--apic-ids has 2"));
        assert!(resolve(None, &[7, 7], &[]).unwrap_err().contains("APIC id 7"));
        assert!(resolve(Some(1), &[], &[(1, 300)]).unwrap_err().contains("no vCPU 1"));
    }
}
