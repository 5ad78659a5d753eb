"""The cloud side: takes the rows of gates, tells the vendors of them, and tells gates of tickets."""
