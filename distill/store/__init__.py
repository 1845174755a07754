"""What is on disk: lines (`jsonl`), the run folder (`run`), the split and the formats users bring."""
