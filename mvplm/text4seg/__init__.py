"""Models that write masks as text, ready to use: built, asked, trained, saved (Text4Seg and Text4Seg++)."""
