"""What a user submits and gets back: TaskManager, Task, Dataset, report."""
