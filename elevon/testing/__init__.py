"""Public test tools: contract suites and fakes for everything that is a Protocol."""
