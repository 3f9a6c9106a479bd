"""Models that write boxes and decode their masks, ready to use: built, asked, trained, saved (Qwen3-VL-Seg)."""
