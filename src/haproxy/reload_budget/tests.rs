use super::*;

#[test]
fn burst_uses_budget_then_waits_for_refill() {
    let start = Instant::now();
    let mut budget = ReloadBudget::full(start);
    for _ in 0..MAX_RELOADS {
        assert_eq!(budget.take_reload(start, 0), Ok(()));
    }
    assert_eq!(budget.take_reload(start, 0), Err(start + REFILL_INTERVAL));
    assert_eq!(budget.take_reload(start + REFILL_INTERVAL, 0), Ok(()));
    assert_eq!(budget.take_reload(start + REFILL_INTERVAL, 0), Err(start + REFILL_INTERVAL * 2));
}

#[test]
fn old_workers_lengthen_refill_interval() {
    let start = Instant::now();
    let mut budget = ReloadBudget::full(start);
    for _ in 0..MAX_RELOADS {
        assert_eq!(budget.take_reload(start, 3), Ok(()));
    }
    assert_eq!(budget.take_reload(start + REFILL_INTERVAL, 3), Err(start + REFILL_INTERVAL * 4));
    assert_eq!(budget.take_reload(start + REFILL_INTERVAL * 4, 3), Ok(()));
}

#[test]
fn idle_time_refills_up_to_maximum() {
    let start = Instant::now();
    let mut budget = ReloadBudget::full(start);
    let later = start + REFILL_INTERVAL * 1000;
    for _ in 0..MAX_RELOADS {
        assert_eq!(budget.take_reload(later, 0), Ok(()));
    }
    assert_eq!(budget.take_reload(later, 0), Err(later + REFILL_INTERVAL));
}

#[test]
fn available_is_number_of_reloads_before_refusal() {
    let start = Instant::now();
    let mut budget = ReloadBudget::full(start);
    assert_eq!(budget.available(start, 0), MAX_RELOADS);
    for available in (0..MAX_RELOADS).rev() {
        assert_eq!(budget.take_reload(start, 0), Ok(()));
        assert_eq!(budget.available(start, 0), available);
    }
    assert_eq!(budget.available(start + REFILL_INTERVAL, 0), 1);
    assert_eq!(budget.available(start + REFILL_INTERVAL, 1), 0);
    assert_eq!(budget.available(start + REFILL_INTERVAL * 1000, 0), MAX_RELOADS);
}
