// Package infer gathers frames of many sessions into batches and turns model
// output into detections.
//
// A [Model] describes a network; an [Engine] is a model loaded and ready to run,
// owned by one goroutine, its Runner. The [Batcher] has one ready list, ordered by
// class and by principal so that nobody starves, and one Runner per Engine. A session
// has one [Place] in the list whatever its backlog: it queues its readiness, not its
// pixels, and its frame is taken when a batch starts. A [Head] turns raw outputs into candidates, [NMS] keeps the best of
// those that overlap, and boxes go back to source pixels.
//
// [Describe] finds the Head of a model by its [Facts]: one of a dozen families, each
// one of four kinds of heads with its settings. A [Description] overrides them.
//
// The one rule: a frame that was taken is answered by exactly one Done, and its
// pixels are released as soon as they are in the batch tensor.
package infer
