"""`gatepost doctor`: looks at a gate for an installer, says plainly what is wrong, and what to do."""
