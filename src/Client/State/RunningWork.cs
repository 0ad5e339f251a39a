namespace EphemeralFs.Client.State;

/// <summary>Work of the daemon that no kernel request answers for, and flushes: the mount's memory is not taken away, or handed to a successor, under it.</summary>
public sealed class RunningWork
{
    private readonly Lock _lock = new();
    private TaskCompletionSource? _stopped;
    private int _running;

    /// <summary>Work begins, and <see cref="End"/> follows; false when none may begin any more.</summary>
    public bool TryBegin()
    {
        lock (_lock)
        {
            if (_stopped is not null)
            {
                return false;
            }

            _running++;
            return true;
        }
    }

    /// <summary>The work is done.</summary>
    public void End()
    {
        lock (_lock)
        {
            if (--_running == 0)
            {
                _stopped?.TrySetResult();
            }
        }
    }

    /// <summary>Nothing begins any more; returns when nothing runs. The session is disposed before, so that nothing waits for a server for long.</summary>
    public void Stop()
    {
        lock (_lock)
        {
            _stopped ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            if (_running == 0)
            {
                _stopped.TrySetResult();
            }
        }

        _stopped.Task.Wait();
    }
}
