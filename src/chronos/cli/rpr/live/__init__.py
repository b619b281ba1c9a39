"""`--watch`: a repetition on the whole screen. Imported only then; its library takes its time to load."""
