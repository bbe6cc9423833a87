"""What is wrong with a data set before a model learns it: copies, leaks, spoiled images, wrong labels, shortcuts."""
