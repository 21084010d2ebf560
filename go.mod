module detections

go 1.26.0
